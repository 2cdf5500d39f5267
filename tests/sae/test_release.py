"""State dicts of other projects: each layout gives the codes of the class that made it; anything else is refused by the tensor's name.

Codes are derived here from the formulas of `dictionary_learning`'s classes, written out on raw tensors.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segcompass.errors import InputError
from segcompass.sae.release import LAYOUTS, read_release

WIDTH, FEATURES, K = 8, 24, 3
RANDOM = torch.Generator().manual_seed(5)
X = torch.randn(200, WIDTH, generator=RANDOM)


def drawn(*shape: int) -> Tensor:
    return 0.5 * torch.randn(*shape, generator=RANDOM)


E, B, D = drawn(FEATURES, WIDTH), drawn(FEATURES), drawn(WIDTH, FEATURES)
"""Encoder weight, encoder bias and decoder weight as `nn.Linear` keeps them."""
CENTRE, SCALE, GATE, THRESHOLD = drawn(WIDTH), drawn(FEATURES), drawn(FEATURES), drawn(FEATURES).abs()
NORM = D.norm(dim=0)
SPARSE = {"encoder.weight": E, "encoder.bias": B, "decoder.weight": D, "b_dec": CENTRE}
SPARSE |= {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.4)}
STATES = {
    "release": {"encoder.weight": E, "encoder.bias": B, "decoder.weight": D, "decoder.bias": CENTRE},
    "AutoEncoder": {"encoder.weight": E, "encoder.bias": B, "decoder.weight": D, "bias": CENTRE},
    "AutoEncoderTopK": SPARSE,
    "BatchTopKSAE": SPARSE,
    "JumpReluAutoEncoder": {"W_enc": E.T, "b_enc": B, "W_dec": D.T, "b_dec": CENTRE, "threshold": THRESHOLD},
    "GatedAutoEncoder": {
        "encoder.weight": E,
        "decoder.weight": D,
        "r_mag": SCALE,
        "gate_bias": GATE,
        "mag_bias": B,
        "decoder_bias": CENTRE,
    },
}


def relu(x: Tensor) -> Tensor:
    return (x @ E.T + B).relu()


def top_k(x: Tensor) -> Tensor:
    codes = relu(x - CENTRE)
    values, places = codes.topk(K)
    return torch.zeros_like(codes).scatter(-1, places, values)


def batch_top_k(x: Tensor) -> Tensor:
    codes = relu(x - CENTRE)
    return codes * (codes > 0.4)


def jump_relu(x: Tensor) -> Tensor:
    before = x @ E.T + B
    return (before * (before > THRESHOLD)).relu() * NORM


def gated(x: Tensor) -> Tensor:
    read = (x - CENTRE) @ E.T
    return (read + GATE > 0) * (SCALE.exp() * read + B).relu() * NORM


CODES: dict[str, Callable[[Tensor], Tensor]] = {
    "release": relu,
    "AutoEncoder": lambda x: relu(x - CENTRE),
    "AutoEncoderTopK": top_k,
    "BatchTopKSAE": batch_top_k,
    "JumpReluAutoEncoder": jump_relu,
    "GatedAutoEncoder": gated,
}
NAMED = {"AutoEncoderTopK", "BatchTopKSAE", "JumpReluAutoEncoder"}
"""Layouts whose tensors' names are those of another one too."""


def saved(folder: Path, state: dict, **beside: object) -> Path:
    torch.save(state | beside, folder / "ae.pt")
    return folder / "ae.pt"


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_codes_and_reconstructions_are_those_of_the_class_that_saved_them(layout: str, tmp_path: Path) -> None:
    path = saved(tmp_path, STATES[layout])
    dictionary = read_release(path, 3, layout if layout in NAMED else None)
    codes = CODES[layout](X)
    scale = NORM if layout in ("JumpReluAutoEncoder", "GatedAutoEncoder") else 1.0
    assert 0 < (codes != 0).float().mean() < 0.9 and dictionary.hook_layer == 3
    assert torch.allclose(dictionary.encode(X), codes, atol=1e-4)
    assert torch.allclose(dictionary.decode(codes), codes / scale @ D.T + CENTRE, atol=1e-4)


@pytest.mark.parametrize("layout", sorted(NAMED))
def test_names_that_two_layouts_share_are_decided_by_the_config_beside_or_by_the_user(layout: str, tmp_path: Path) -> None:
    path = saved(tmp_path, STATES[layout])
    with pytest.raises(InputError, match=f"may be .*{layout}.*; say which by --layout"):
        read_release(path, 3)
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": layout}}))
    assert torch.allclose(read_release(path, 3).encode(X), CODES[layout](X), atol=1e-4)
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "CrossCoder"}}))
    with pytest.raises(InputError, match="`CrossCoder` is not read; known are release, AutoEncoder"):
        read_release(path, 3)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (STATES["release"] | {"steps": torch.zeros(1)}, "steps: is no tensor of release"),
        ({name: value for name, value in STATES["release"].items() if name != "decoder.bias"}, "decoder.bias: is missing|bias: is missing"),
        ({"encoder.weight": E, "encoder.bias": B, "W_dec": D.T, "b_dec": CENTRE}, "W_dec: is no tensor of"),
        ({"encoder.weight": E, "latent_bias": B, "decoder.weight": D, "pre_bias": CENTRE}, "latent_bias, pre_bias: is no tensor of"),
        ({"W_enc": E.T, "b_enc": B, "W_dec": D.T, "b_dec": CENTRE}, "threshold: is missing"),
        (STATES["release"] | {"k": 4}, "k: is 4 beside the tensors of a plain ReLU dictionary"),
        (STATES["release"] | {"activation": "topk"}, "activation: is 'topk' beside"),
        ({"model": STATES["release"], "sae": STATES["AutoEncoder"]}, "holds tensors below `model` and `sae`"),
        (STATES["release"] | {"decoder.weight": D.T}, "W_dec: has shape"),
        (STATES["release"] | {"encoder.weight": B}, "W_enc: has shape"),
        ({"encoder.weight": E, "encoder.bias": B}, "is missing"),
        ({}, "holds no state dict; it holds nothing"),
        ([E], "holds no state dict; it holds list"),
    ],
)
def test_what_is_unknown_missing_or_ambiguous_is_refused_by_name(state: dict, sentence: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "ae.pt")
    with pytest.raises(InputError, match=sentence) as fault:
        read_release(tmp_path / "ae.pt", 3)
    assert "\n" not in str(fault.value)


def test_a_layout_that_the_user_names_is_held_to_its_tensors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="b_dec, k, threshold: is no tensor of release"):
        read_release(saved(tmp_path, SPARSE), 3, "release")
    with pytest.raises(InputError, match=r"k: has shape \(2,\)"):
        read_release(saved(tmp_path, SPARSE | {"k": torch.ones(2)}), 3, "AutoEncoderTopK")


def test_a_relu_dictionary_that_says_so_beside_its_tensors_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, STATES["release"], activation="relu", epoch=10)
    assert torch.allclose(read_release(path, 3).encode(X), relu(X), atol=1e-5)
