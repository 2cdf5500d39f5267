"""The stage train_sae makes every dictionary that a study can name, and controls copy the sparsity that they name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from segcompass.errors import InputError
from segcompass.provenance.stage import Stage
from segcompass.sae.checkpoint import load_dictionary
from segcompass.stages.train_sae import work
from segcompass.study.jobs import Job, stage_params
from tests.sae.planted import SETTINGS, write_cache
from tests.tiny import micro_study

REVIVAL = {"revival_coefficient": 0.0, "dead_after_tokens": 1000}
RELU_L1: dict[str, Any] = {"architecture": "relu_l1", "width": 64, "l1_coefficient": 0.2, "initial_density": 0.2} | REVIVAL


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("stage") / "activations", images=200)


@pytest.fixture(scope="module")
def trained(cache: Path) -> Path:
    return made(cache, cache.parent / "relu_l1", RELU_L1 | {"decoder": "trained"})


def made(cache: Path, folder: Path, dictionary: dict[str, Any], like: Path | None = None, device: str = "cpu") -> Path:
    """The artefact of one dictionary, half of the images held out."""
    settings = SETTINGS.model_copy(update={"held_out_fraction": 0.5, "learning_rate": 1e-2})
    params = {"training": settings.model_dump(mode="json"), "dictionary": dictionary, "threads": 1, "hook_layer": 2, "on_the_fly": None}
    params |= {"runtime": {"device": device}}
    inputs = {"activations": cache} | ({"like": like} if like else {})
    folder.mkdir()
    work(Stage("train_sae", params, {}, folder, inputs, {}))
    return folder


def metrics(folder: Path) -> dict[str, dict[str, float]]:
    found = json.loads((folder / "metrics.json").read_text())
    assert isinstance(found, dict)
    return found


def test_a_random_one_has_the_l0_of_its_twin_on_held_out_tokens_of_every_type(cache: Path, trained: Path, tmp_path: Path) -> None:
    found, twin = metrics(made(cache, tmp_path / "random", {"architecture": "random", "like": "relu_l1"}, trained)), metrics(trained)
    for kind in ("visual", "instruction", "thought"):
        assert found[kind]["l0_copied"] == twin[kind]["l0"] > 1
        assert found[kind]["l0"] == pytest.approx(found[kind]["l0_copied"], rel=0.05), kind


def test_hidden_units_are_as_many_as_the_twin_has_active_concepts(cache: Path, trained: Path, tmp_path: Path) -> None:
    folder = made(cache, tmp_path / "neurons", {"architecture": "neurons", "like": "relu_l1"}, trained)
    found = metrics(folder)["all"]
    assert load_dictionary(folder).features == 8
    assert found["l0"] == round(found["l0"]) and abs(found["l0"] - min(8.0, found["l0_copied"])) < 0.6


def test_components_explain_more_the_more_they_are(cache: Path, tmp_path: Path) -> None:
    explained = [
        metrics(made(cache, tmp_path / f"pca{width}", {"architecture": "pca", "width": width}))["all"]["explained_variance"]
        for width in (2, 5, 8)
    ]
    assert 0 < explained[0] < explained[1] < explained[2] and explained[2] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("decoder", "least"), [("frozen", 1.0), ({"soft_frozen": 0.95}, 0.95)])
def test_a_held_decoder_begins_where_the_trained_one_does(decoder: Any, least: float, cache: Path, trained: Path, tmp_path: Path) -> None:
    folder = made(cache, tmp_path / "held", RELU_L1 | {"decoder": decoder})
    dictionary, twin = load_dictionary(folder), load_dictionary(trained)
    cosine = torch.nn.functional.cosine_similarity(dictionary.W_dec, twin.W_dec, dim=1)
    assert cosine.min() > 0.5, "both began in the same directions"
    assert json.loads((folder / "cfg.json").read_text())["metadata"]["decoder_cosine"] == least
    if least < 1:
        assert least - 1e-6 <= metrics(folder)["decoder"]["least_cosine_to_start"] < 0.96
    else:
        assert "decoder" not in metrics(folder)


def test_the_studys_device_reaches_the_stage(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = micro_study()
    on_a_card = study.model_copy(update={"runtime": study.runtime.model_copy(update={"device": "cuda"})})
    runtime = stage_params(on_a_card, Job("train_sae", (("sae", "topk"),)))["runtime"]
    assert runtime == {"device": "cuda", "instruction_set": study.runtime.instruction_set}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"runtime\.device: is `cuda`, but torch finds no such device here"):
        made(cache, tmp_path / "cuda", RELU_L1 | {"decoder": "trained"}, device=runtime["device"])


def test_faults_are_one_sentence(cache: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is 9, but hidden states have 8 dimensions and no more components; lower it"):
        made(cache, tmp_path / "pca", {"architecture": "pca", "width": 9})
    with pytest.raises(InputError, match="--like: is missing"):
        made(cache, tmp_path / "random", {"architecture": "random", "like": "relu_l1"})
    (tmp_path / "without").mkdir()
    for name in ("cfg.json", "sae_weights.safetensors"):
        (tmp_path / "without" / name).symlink_to(trained / name)
    with pytest.raises(InputError, match=r"metrics\.json: l0: is missing or damaged"):
        made(cache, tmp_path / "neurons", {"architecture": "neurons", "like": "relu_l1"}, tmp_path / "without")
