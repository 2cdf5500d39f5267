"""Checkpoint folders: what is written is read, foreign ones are folded or refused in one sentence, the release's file converts."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from segcompass.cli import main
from segcompass.errors import InputError
from segcompass.sae.checkpoint import load_dictionary, save_dictionary
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from tests.arithmetic import same_sums

pytestmark = pytest.mark.numerical

MAKE = {
    "standard": lambda: ReluL1Dictionary(8, 24),
    "topk": lambda: TopKDictionary(8, 24, 3),
    "jumprelu": lambda: JumpReluDictionary(8, 24, initial_threshold=0.3),
    "dense": lambda: DenseDictionary(8, 24),
}


@pytest.mark.parametrize("architecture", list(MAKE))
def test_they_round_trip(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    dictionary = MAKE[architecture]()
    dictionary.hook_layer = 3
    save_dictionary(dictionary, tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert config["architecture"] == architecture and config["metadata"]["hook_layer"] == 3
    loaded, x = load_dictionary(tmp_path), torch.randn(20, 8)
    assert torch.equal(loaded.encode(x), dictionary.encode(x)) and loaded.hook_layer == 3
    assert torch.equal(loaded.decode(loaded.encode(x)), dictionary.decode(dictionary.encode(x)))


@pytest.mark.parametrize(("least_cosine", "rule"), [(1.0, "frozen"), (0.8, "soft_frozen")])
def test_the_metadata_say_how_a_decoder_was_held(least_cosine: float, rule: str, tmp_path: Path) -> None:
    dictionary = ReluL1Dictionary(8, 24)
    dictionary.hook_layer = 3
    dictionary.hold_decoder(least_cosine)
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
    save_dictionary(dictionary, tmp_path / "first")
    metadata = json.loads((tmp_path / "first" / "cfg.json").read_text())["metadata"]
    assert metadata["decoder"] == rule and metadata["decoder_cosine"] == least_cosine
    save_dictionary(load_dictionary(tmp_path / "first"), tmp_path / "again")
    for file in ("cfg.json", "sae_weights.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def foreign(folder: Path, **changes: object) -> Path:
    """A checkpoint of one concept in one dimension: x -> relu(2 x + 1), z -> 3 z + 5, as another library may write it."""
    config = {"architecture": "standard", "d_in": 1, "d_sae": 1, "apply_b_dec_to_input": False, "normalize_activations": "none"}
    config |= {"metadata": {"hook_name": "blocks.4.hook_resid_post"}} | changes
    values = {"W_enc": [[2.0]], "b_enc": [1.0], "W_dec": [[3.0]], "b_dec": [5.0]}
    save_file({name: torch.tensor(value) for name, value in values.items()}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def test_what_can_be_folded_is(tmp_path: Path) -> None:
    x = torch.tensor([[10.0]])
    assert load_dictionary(foreign(tmp_path)).encode(x).item() == 21.0
    # b_dec is subtracted first: 2 (10 - 5) + 1.
    assert load_dictionary(foreign(tmp_path, apply_b_dec_to_input=True)).encode(x).item() == 11.0
    # Codes are scaled by the decoder's norm 3, and the decoder's row becomes 1.
    rescaled = load_dictionary(foreign(tmp_path, architecture="topk", k=1, rescale_acts_by_decoder_norm=True))
    assert rescaled.encode(x).item() == 63.0 and rescaled.decode(rescaled.encode(x)).item() == 68.0
    assert rescaled.hook_layer == 5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"normalize_activations": "layer_norm"}, "normalisation that the weights do not hold"),
        ({"reshape_activations": "hook_z"}, "residual-stream"),
        ({"architecture": "gated"}, "b_gate, b_mag, r_mag: is missing, and `gated` needs it"),
        ({"architecture": "transcoder"}, "`transcoder` is no dictionary that is read here; convert it to one of standard, topk"),
        ({"activation_fn_str": "tanh-relu"}, "not read"),
        ({"metadata": {"hook_name": "blocks.4.attn.hook_z"}}, "no output of a block"),
        ({"architecture": "topk"}, "k: is None"),
        ({"architecture": "topk", "k": 2}, "k: is 2, more than the 1 concepts"),
        ({"architecture": "topk", "k": True}, "k: is True"),
        ({"architecture": "jumprelu"}, "threshold: is missing"),
        ({"d_sae": 2}, "W_dec: has shape|W_enc: has shape|b_enc: has shape"),
        ({"d_in": "one"}, "d_in: is 'one'"),
        ({"d_sae": 10**15}, "has shape"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_folded_is_refused(changes: dict, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        load_dictionary(foreign(tmp_path, **changes))


def test_a_tensor_that_the_architecture_has_not_is_refused_by_name(tmp_path: Path) -> None:
    folder = foreign(tmp_path)
    weights = load_file(folder / "sae_weights.safetensors")
    save_file(weights | {"gain": torch.ones(1)}, folder / "sae_weights.safetensors")
    with pytest.raises(InputError, match="gain: is no tensor of `standard`"):
        load_dictionary(folder)


@pytest.mark.parametrize(("made_here", "remedy"), [(True, "delete .* and start the pipeline again"), (False, "take a whole copy of it")])
def test_the_remedy_is_one_that_helps(made_here: bool, remedy: str, tmp_path: Path) -> None:
    foreign(tmp_path)
    (tmp_path / "cfg.json").write_text("{")
    if made_here:
        (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match=remedy):
        load_dictionary(tmp_path)


class Autoencoder(nn.Module):
    """The usual way to write one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(8, 24), nn.Linear(24, 8)


@pytest.mark.parametrize("layout", ["state dict", "nested", "prefixed"])
def test_the_release_converts(layout: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Autoencoder(), torch.randn(5, 8)
    state = model.state_dict()
    if layout == "prefixed":
        state = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 10, "model_state_dict": state} if layout == "nested" else state, tmp_path / "ep_10.pt")
    assert main(["convert-sae", str(tmp_path / "ep_10.pt"), "--hook-layer", "16", "--out", str(tmp_path / "sae")]) == 0
    dictionary = load_dictionary(tmp_path / "sae")
    codes = model.encoder(x).relu()
    assert dictionary.hook_layer == 16 and same_sums(dictionary.encode(x), codes, terms=8)
    assert same_sums(dictionary.decode(dictionary.encode(x)), model.decoder(codes), terms=24, layers=2)


def test_a_release_of_another_layout_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weights": {"a": torch.zeros(1)}, "enc": torch.zeros(2)}, tmp_path / "other.pt")
    (tmp_path / "code.pt").write_bytes(pickle.dumps(Path("x")))
    said = {"other.pt": "enc: is no tensor of", "code.pt": "more than tensors", "missing.pt": "cannot be read"}
    for name, sentence in said.items():
        assert main(["convert-sae", str(tmp_path / name), "--hook-layer", "16", "--out", str(tmp_path / "sae")]) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
    assert not (tmp_path / "sae").exists()
