"""The stage `make_atlas` on a trained interface of the smallest size: what it shows agrees with what other stages say."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from segcompass.atlas import page
from segcompass.datasets.artefact import manifest
from segcompass.datasets.samples import read_samples
from segcompass.errors import InputError
from segcompass.provenance.stage import Stage
from segcompass.sae.checkpoint import save_dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.stages import label_tokens, make_atlas, score_concepts
from segcompass.study.jobs import Job, stage_params
from tests.joint.conftest import HOOK, WIDTH, run_job
from tests.tiny import micro_study


def scored(artefacts: Path, data: Path, folder: Path) -> dict[str, Path]:
    """Labelled tokens, the scores of the dictionary on them, and another dictionary."""
    job = Job("score_concepts", (("sae", "topk"),))
    given = {"data": data, "backbone": artefacts / "backbone"}
    run_job(label_tokens.work, Job("label_tokens"), folder / "labelled", given, hook_layer=HOOK)
    control = folder / str(stage_params(micro_study(), job)["control_sae"])
    control.mkdir()
    torch.manual_seed(1)
    dictionary = TopKDictionary(WIDTH, 48, 4, 0.0, 1000)
    dictionary.hook_layer = HOOK
    save_dictionary(dictionary, control)
    inputs = {"tokens": folder / "labelled", "sae": artefacts / "sae", "control-sae": control}
    run_job(score_concepts.work, job, folder / "scores", inputs)
    return {"data": data, "tokens": folder / "labelled", "scores": folder / "scores", "control": control}


def made(artefacts: Path, given: dict[str, Path], folder: Path, **changes: object) -> tuple[Stage, dict[str, Any]]:
    """The stage, and the data of its page."""
    folder.mkdir()
    inputs = {name: artefacts / name for name in ("sae", "backbone")} | {name: given[name] for name in ("data", "tokens", "scores")}
    inputs |= {name: artefacts / name / "evaluation" for name in ("answers", "images")} | {"run": artefacts / "interface"}
    params = stage_params(micro_study(), Job("make_atlas")) | {"dictionaries": {given["control"].name: "untrained"}} | changes
    stage = Stage("make_atlas", params, {}, folder, inputs, {"saes": [given["control"]]})
    make_atlas.work(stage)
    text = (folder / "atlas.html").read_text(encoding="utf-8")
    found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return stage, json.loads(found[1])


@pytest.fixture(scope="module")
def given(artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return scored(artefacts, artefacts / "data", tmp_path_factory.mktemp("atlas"))


@pytest.fixture(scope="module")
def whole(artefacts: Path, given: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Stage, dict[str, Any]]:
    return made(artefacts, given, tmp_path_factory.mktemp("whole") / "atlas")


def test_the_page_agrees_with_the_artefacts(given: dict[str, Path], whole: tuple[Stage, dict[str, Any]]) -> None:
    stage, data = whole
    settings = micro_study().report.atlas
    scores = pd.read_csv(given["scores"] / "concepts.csv").query("dictionary == 'trained'").set_index("concept")
    firing = scores.index[scores["density_all"] > 0]
    assert [concept["id"] for concept in data["concepts"]] == firing.tolist()
    assert data["width"] == len(scores) and data["silent"] == len(scores) - len(firing) and data["left_out"] == 0
    for concept in data["concepts"]:
        row = scores.loc[concept["id"]]
        assert concept["density"]["all"] == pytest.approx(row["density_all"], rel=1e-4)
        assert concept["best"] is None if pd.isna(row["value"]) else concept["best"][1] == row["value"]
    top = pd.read_csv(given["scores"] / "top_patches.csv").query("rank == 0").set_index("concept")
    for concept in data["concepts"]:
        if concept["top"]:
            place, *box, activation, quantile, _ = concept["top"][0]
            row = top.loc[concept["id"]]
            assert data["pictures"][place]["name"] == Path(row["image"]).name and quantile == 1
            assert box == row[["x0", "y0", "x1", "y1"]].tolist() and activation == pytest.approx(row["activation"], rel=1e-4)
    measured = [concept for concept in data["concepts"] if concept["effect"]]
    assert 0 < len(measured) <= settings.effects.concepts
    assert 0 < len(data["samples"]) <= settings.samples and stage.rows["samples"] == len(data["samples"])
    assert stage.facts["bytes"] < page.MOST_BYTES and data["battery"] == data["swaps"] == []


def test_a_sample_shows_its_words_its_slots_and_what_carries_them(
    artefacts: Path, given: dict[str, Path], whole: tuple[Stage, dict[str, Any]]
) -> None:
    _, data = whole
    owners = [json.loads(line) for line in (artefacts / "answers" / "evaluation" / "owners.jsonl").read_text().splitlines()]
    answers = {(owner["sample_id"], owner["split"]): owner["answer"] for owner in owners}
    for sample in data["samples"]:
        texts = {one.sample_id: one.text for one in read_samples(manifest(given["data"], sample["benchmark"], sample["split"]))}
        assert sample["text"] == texts[sample["sample"]]
        thought = "".join(text for text, kind in sample["words"] if kind == "thought")
        if sample["status"] == "ok":
            assert thought.split() == answers[sample["sample"], sample["split"]].partition("<REF_POS>")[0].split()
        assert [slot["slot"] for slot in sample["slots"]] == list(range(micro_study().answer.slots))
        assert all(bool(slot["carriers"]) == bool(slot["together"]) == slot["leads"] for slot in sample["slots"])
        for one in (one for slot in sample["slots"] for one in slot["together"]):
            assert one["removed"] > 0 and 0 <= one["iou"] <= 1 and one["after"].startswith("data:image/webp")
        pairs = [one for slot in sample["slots"] for one in slot["carriers"] if "after" in one]
        assert len(pairs) == micro_study().report.atlas.pairs * sum(slot["leads"] for slot in sample["slots"])


def test_photographs_have_no_attributes(artefacts: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(artefacts / "data", data, ignore=shutil.ignore_patterns("scenes", "supervision"))
    _, found = made(artefacts, scored(artefacts, data, tmp_path), tmp_path / "atlas")
    assert found["attributes"] == {} and all(concept["best"] is None and not concept["purity"] for concept in found["concepts"])


def test_a_page_that_grows_too_large_shows_smaller_pictures_then_fewer_concepts(
    artefacts: Path, given: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_atlas, "_effects", lambda *_: (None, {}))
    monkeypatch.setattr(make_atlas, "_samples", lambda *_: ([], {}))
    stage, data = made(artefacts, given, tmp_path / "whole")
    monkeypatch.setattr(make_atlas, "MOST_BYTES", stage.facts["bytes"] - 40_000)
    smaller, fewer = made(artefacts, given, tmp_path / "fewer")
    assert smaller.facts["bytes"] <= stage.facts["bytes"] - 40_000
    assert len(fewer["concepts"]) < len(data["concepts"]) and fewer["left_out"] == len(data["concepts"]) - len(fewer["concepts"])
    monkeypatch.setattr(make_atlas, "MOST_BYTES", 2**20)
    with pytest.raises(InputError, match=r"report\.atlas"):
        made(artefacts, given, tmp_path / "none")
