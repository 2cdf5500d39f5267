"""Sparse codes of F = 65,536 concepts on 16 answers of 1,400 tokens pass through an interface in less than 2 GB; dense ones are 5.9 GB.

The peak is that of a fresh process (`VmHWM`): encoding, a training step's forward and backward pass, and the forward pass of an evaluation.
At a small size both forms give the same maps and the same gradients.
"""

import json
import subprocess
import sys

import torch

from segcompass.backbone.token_types import OTHER, THOUGHT, VISUAL
from segcompass.joint.answer_codes import blanked
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.reading import Policy, Reading
from segcompass.sae.topk import TopKDictionary
from tests.tiny import micro_study

LIMIT_MB = 2000
WIDTH, CHANNELS = 64, 32
AT_SIZE = """
import json
from tests.joint.test_codes_at_size import both_passes

both_passes(65536, 16, 1400)
status = open("/proc/self/status").read()
print(json.dumps({"mb": int(status.split("VmHWM:")[1].split()[0]) / 1024}))
"""


def made(features: int, answers: int, tokens: int) -> tuple[ConceptInterface, TopKDictionary, Reading, torch.Tensor]:
    """An untrained interface, its dictionary, what it reads in sparse form, and image embeddings; the last tokens are the thought's."""
    torch.manual_seed(0)
    settings = micro_study().interface.model
    dictionary = TopKDictionary(WIDTH, features, 32)
    interface = ConceptInterface(settings, dictionary.W_dec, CHANNELS, Policy(1, settings.slots, 1))
    types = torch.full((answers, tokens), VISUAL, dtype=torch.uint8)
    types[:, -max(2, tokens // 10) :], types[::2, :3] = THOUGHT, OTHER
    with torch.no_grad():
        codes = blanked(dictionary.encode_sparse(torch.randn(answers * tokens, WIDTH)), (types != OTHER).flatten())
    references = torch.randn(answers, settings.slots, WIDTH)
    return (
        interface,
        dictionary,
        Reading(codes, types, torch.zeros(answers, tokens, dtype=torch.int64), references),
        torch.randn(answers, CHANNELS, 16, 16),
    )


def both_passes(features: int, answers: int, tokens: int) -> None:
    """A pass of training and one of evaluation."""
    interface, _, reading, embeddings = made(features, answers, tokens)
    heat, confidence = interface(reading, embeddings)
    (heat.square().mean() + confidence.square().mean()).backward()
    gradient = interface.codebook.tokens.rows.grad
    assert gradient is not None and gradient.shape[0] == features and gradient.abs().sum() > 0
    with torch.no_grad():
        again, _ = interface(reading, embeddings)
    assert torch.allclose(again, heat, atol=1e-4)


def test_codes_of_the_papers_size_pass_through_in_two_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", AT_SIZE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout)["mb"]
    print(f"peak {peak:.0f} MB")
    assert peak < LIMIT_MB


def test_sparse_codes_give_the_maps_and_gradients_of_dense_ones() -> None:
    interface, _, reading, embeddings = made(96, 3, 20)
    dense = Reading(reading.codes.dense().view(3, 20, 96), reading.token_types, reading.ids, reading.reference_states)
    found = []
    for one in (reading, dense):
        interface.zero_grad()
        heat, confidence = interface(one, embeddings)
        (heat.square().mean() + confidence.square().mean()).backward()
        found.append((heat.detach(), confidence.detach(), interface.codebook.tokens.rows.grad.clone()))
    for sparse, full in zip(*found, strict=True):
        assert torch.allclose(sparse, full, rtol=1e-4, atol=1e-6)
