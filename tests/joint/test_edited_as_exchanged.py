"""`segcompass edit --swap-from … --attribute` does to a counterfactual pair what stage `exchange` has recorded of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.explained import swapped_as_recorded, traced_as_recorded
from segcompass.atlas.swaps import swap_views
from segcompass.causal.examples import read_examples
from segcompass.causal.overlap import iou
from segcompass.cli import main
from segcompass.datasets.artefact import data_root, gold_thoughts, manifest
from segcompass.datasets.masks import decode
from segcompass.datasets.pairs import exchanged_pairs
from segcompass.datasets.samples import read_samples
from segcompass.explain.carriers import carriers, exchanged
from segcompass.joint.inference import Predictor
from segcompass.joint.stored_run import load_predictor, stored_run
from segcompass.stages import exchange, intervene
from segcompass.study.jobs import Job, stage_params
from tests.joint.conftest import run_job
from tests.tiny import micro_study

WORDS = (("variant", "reference"), ("seed", "0"))


def recorded(folder: Path, stage: str, **more: object) -> None:
    """Completes the `run.json` that `run_job` has left."""
    record = json.loads((folder / "run.json").read_text()) | {"stage": stage, "wildcards": dict(WORDS)} | more
    (folder / "run.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def study(artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefacts as results of a study, with the battery on its reference interface."""
    results = tmp_path_factory.mktemp("edited") / "results" / "micro"
    run = results / "interface" / "reference" / "seed0"
    for part, place in (("data", "data"), ("backbone", "backbone"), ("sae", "sae/topk")):
        (results / place).parent.mkdir(parents=True, exist_ok=True)
        (results / place).symlink_to(artefacts / part)
    shutil.copytree(artefacts / "interface", run)
    facts = json.loads((run / "interface.json").read_text())
    facts["policy"]["longest"] = 48  # room for gold thoughts, which are given; the study's policy speaks less
    (run / "interface.json").write_text(json.dumps(facts))
    params = stage_params(micro_study(), Job("train_interface", WORDS)) | {"confidence_threshold": 0.5}
    recorded(run, "train_interface", params=params, inputs={"a": "backbone", "b": "sae"})
    given = {name: artefacts / name for name in ("data", "backbone", "sae")} | {"run": artefacts / "interface"}
    given |= {name: artefacts / name / "evaluation" for name in ("answers", "images")}
    run_job(intervene.work, Job("intervene", WORDS), results / "intervene" / "reference" / "seed0", given)
    given |= {"pair-answers": artefacts / "answers" / "pairs", "pair-images": artefacts / "images" / "pairs"}
    ran = run_job(exchange.work, Job("exchange", WORDS), results / "exchange" / "reference" / "seed0", given)
    recorded(results / "intervene" / "reference" / "seed0", "intervene")
    recorded(results / "exchange" / "reference" / "seed0", "exchange", facts=ran.facts)
    return results


@pytest.fixture(scope="module")
def predictor(study: Path) -> Predictor:
    return load_predictor(stored_run(study / "interface" / "reference" / "seed0"), None)


def test_pairs_and_concepts_are_those_of_the_study(study: Path, predictor: Predictor, tmp_path: Path) -> None:
    settings = micro_study().analysis.exchange
    record = json.loads((study / "exchange" / "reference" / "seed0" / "run.json").read_text())
    pairs, count = exchanged(study)
    assert pairs == settings.pairs.val and count == record["facts"]["concepts an attribute"] and count in settings.concepts
    (tmp_path / "exchange" / "reference" / "seed0").mkdir(parents=True)
    changed = record | {"params": record["params"] | {"exchange": record["params"]["exchange"] | {"pairs": {"val": 1, "test": 1}}}}
    (tmp_path / "exchange" / "reference" / "seed0" / "run.json").write_text(json.dumps(changed))
    assert exchanged(tmp_path) == (1, count), "what the run's own study says, not what another one has"
    for attribute in {pair.attribute for pair in exchanged_pairs(study / "data", "val", pairs)}:
        assert len(carriers(predictor, study / "data", attribute, pairs, count)) <= count


def test_an_edit_has_the_masks_that_the_stage_has_kept(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first pair of each attribute, by the command itself under gold thoughts, as the stage has them."""
    examples, _ = read_examples(study / "exchange" / "reference" / "seed0")
    gold = gold_thoughts(study / "data", "counterfactual_test")
    assert len(examples) == 5
    for number, one in enumerate(examples):
        samples = {sample.sample_id: sample for sample in read_samples(manifest(study / "data", one.benchmark, "test"))}
        edited, giving = samples[one.edited], samples[one.giving]
        image, other = (str(data_root(study / "data") / sample.image) for sample in (edited, giving))
        words = ["edit", image, edited.text, "--thought", gold[one.edited], "--swap-from", other, giving.text, "--attribute", one.attribute]
        words += ["--swap-thought", gold[one.giving], "--model", str(study / "interface" / "reference" / "seed0")]
        assert main([*words, "--out", str(tmp_path / str(number))]) == 0
        assert "sham edit: 0 of" in capsys.readouterr().out
        found = json.loads((tmp_path / str(number) / "edit.json").read_text())
        assert set(one.concepts["attribute"]) <= set(found["swap"]["concepts"])
        assert {row["concept"] for row in found["changed"]} == set(one.concepts["attribute"])
        for own, kept in ((found["segmentation_before"], one.before), (found["segmentation_after"], one.after["attribute"])):
            # Cached answers are rounded, so that a few pixels of a border differ.
            assert iou(decode(own), decode(kept)) > 0.9 and (decode(own) != decode(kept)).mean() < 1e-3


def test_the_atlas_shows_the_pairs_of_its_run_alone(study: Path) -> None:
    folders = [study / name / "reference" / "seed0" for name in ("intervene", "exchange")]
    views, sizes = swap_views(folders, "reference", 0, study / "data")
    assert len(views) == 5 and {path for view in views for path in view["paths"]} == set(sizes)
    examples, _ = read_examples(folders[1])
    for view, one in zip(views, examples, strict=True):
        assert set(view["ious"]) == {"before", "attribute", "matched"} and all(
            0 <= part <= 1 for own in view["ious"].values() for part in own
        )
        assert (view["attribute"], tuple(view["values"])) == (one.attribute, one.values) and view["concepts"] == one.concepts["attribute"]
    assert swap_views(folders, "reference", 1, study / "data") == ([], {})


def test_every_pair_moves_as_often_as_the_swap_table_says(study: Path, predictor: Predictor) -> None:
    for attribute in ("colour", "place"):
        found = list(swapped_as_recorded(study, predictor, study / "exchange" / "reference" / "seed0", attribute))
        assert len(found) == micro_study().analysis.exchange.pairs.test and all(one.sham == 0 for one in found)
        assert [one.gold for one in found] == [one.recorded for one in found]


def test_samples_that_are_asked_anew_have_the_traceability_of_the_record(study: Path, predictor: Predictor) -> None:
    """Of one the greatest contributor is another: two contribute alike, and cached answers, which are rounded, change their places."""
    found = list(traced_as_recorded(study, predictor, study / "intervene" / "reference" / "seed0", 50))
    assert len(found) == 2 * micro_study().analysis.intervention.traceability.samples == 4
    apart = [max(abs(one.observed - one.recorded_observed), abs(one.predicted - one.recorded_predicted)) for one in found]
    assert sorted(apart)[2] < 2e-4 and np.isfinite(apart).all()
