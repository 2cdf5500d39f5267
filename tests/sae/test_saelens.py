"""SAELens itself opens our checkpoints, and we open SAELens's: the same codes and reconstructions up to rounding."""

from pathlib import Path

import pytest
import sae_lens
import torch

from segcompass.activations.typed_sample import TypedSample
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.checkpoint import load_dictionary, save_dictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.untrained import UntrainedDictionary
from tests.arithmetic import same_sums

pytestmark = pytest.mark.numerical

WIDTH, FEATURES = 16, 64
X = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(7)) + 0.5


def batchtopk() -> Dictionary:
    dictionary = BatchTopKDictionary(WIDTH, FEATURES, 4)
    dictionary.losses(X)
    return dictionary


def soft_frozen() -> Dictionary:
    dictionary = TopKDictionary(WIDTH, FEATURES, 4)
    dictionary.hold_decoder(0.8)
    return dictionary


def untrained() -> Dictionary:
    dictionary = UntrainedDictionary(WIDTH, FEATURES)
    dictionary.match_sparsity(TypedSample(X, torch.zeros(len(X), dtype=torch.uint8), {0: 1.0}), {0: 4.0})
    return dictionary


OURS = {
    "relu_l1": lambda: ReluL1Dictionary(WIDTH, FEATURES),
    "topk": lambda: TopKDictionary(WIDTH, FEATURES, 4),
    "batchtopk": batchtopk,
    "jumprelu": lambda: JumpReluDictionary(WIDTH, FEATURES, initial_threshold=0.5),
    "random": untrained,
    "soft_frozen": soft_frozen,
}


@pytest.mark.parametrize("name", list(OURS))
@torch.no_grad()
def test_saelens_opens_ours(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    dictionary = OURS[name]()
    dictionary.b_enc.add_(0.1 * torch.randn(FEATURES))
    dictionary.b_dec.add_(0.1 * torch.randn(WIDTH))
    dictionary.hook_layer = 3
    save_dictionary(dictionary, tmp_path)
    theirs = sae_lens.SAE.load_from_disk(tmp_path)
    codes = dictionary.encode(X)
    assert (codes != 0).any() and same_sums(theirs.encode(X), codes, WIDTH)
    assert same_sums(theirs.decode(codes), dictionary.decode(codes), FEATURES)
    assert theirs.cfg.metadata.decoder_cosine == dictionary.least_cosine
    assert theirs.cfg.metadata.hook_layer == 3 and theirs.cfg.metadata.hook_name == "blocks.2.hook_resid_post"


COMMON = {"d_in": WIDTH, "d_sae": FEATURES}
THEIRS = {
    "standard": lambda: sae_lens.StandardSAE(sae_lens.StandardSAEConfig(**COMMON)),
    "standard, b_dec not applied": lambda: sae_lens.StandardSAE(sae_lens.StandardSAEConfig(**COMMON, apply_b_dec_to_input=False)),
    "topk": lambda: sae_lens.TopKSAE(sae_lens.TopKSAEConfig(**COMMON, k=4)),
    "topk, rescaled": lambda: sae_lens.TopKSAE(sae_lens.TopKSAEConfig(**COMMON, k=4, rescale_acts_by_decoder_norm=True)),
    "jumprelu": lambda: sae_lens.JumpReLUSAE(sae_lens.JumpReLUSAEConfig(**COMMON)),
    "gated": lambda: sae_lens.GatedSAE(sae_lens.GatedSAEConfig(**COMMON)),
    "gated, b_dec not applied": lambda: sae_lens.GatedSAE(sae_lens.GatedSAEConfig(**COMMON, apply_b_dec_to_input=False)),
}


@pytest.mark.parametrize("name", list(THEIRS))
@torch.no_grad()
def test_we_open_saelens(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = THEIRS[name]()
    for value in theirs.parameters():
        value.add_(0.2 * torch.randn_like(value))
    theirs.cfg.metadata.hook_name = "blocks.2.hook_resid_post"
    theirs.save_model(tmp_path)
    ours = load_dictionary(tmp_path)
    codes = ours.encode(X)
    assert (codes != 0).any() and same_sums(codes, theirs.encode(X), WIDTH)
    assert same_sums(ours.decode(codes), theirs.decode(theirs.encode(X)), FEATURES)
    assert ours.hook_layer == 3


@torch.no_grad()
def test_we_open_what_saelens_trained_with_batchtopk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = sae_lens.BatchTopKTrainingSAE(sae_lens.BatchTopKTrainingSAEConfig(**COMMON, k=4))
    theirs.topk_threshold.fill_(0.001)
    theirs.cfg.metadata.hook_name = "blocks.2.hook_resid_post"
    theirs.save_inference_model(tmp_path)
    inference = sae_lens.SAE.load_from_disk(tmp_path)
    codes = load_dictionary(tmp_path).encode(X)
    assert (codes != 0).any() and same_sums(codes, inference.encode(X), WIDTH)
