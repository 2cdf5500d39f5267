"""The stage `intervene` on trained interfaces of the smallest size: every read-out, the same bytes again, and nothing of nothing."""

import json
from pathlib import Path

import pandas as pd
import pytest

from segcompass.causal.measurements import read_balances, read_measurements
from segcompass.datasets.artefact import manifest
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import read_samples
from segcompass.stages import intervene, train_interface
from segcompass.study.jobs import Job
from tests.joint.conftest import run_job
from tests.tiny import micro_study

CONCEPTS = {"curve", "dose", "composition", "attribution", "traceability", "sham"}
READOUTS = {"concepts": CONCEPTS, "words": {"traceability", "sham"}, "references": {"traceability", "sham"}}
RUN = (("variant", "reference"), ("seed", "0"))


def intervened(artefacts: Path, run: Path, folder: Path, batch: int = 32) -> Path:
    """The stage's artefact."""
    inputs = {"data": artefacts / "data", "backbone": artefacts / "backbone", "sae": artefacts / "sae", "run": run}
    inputs |= {"answers": artefacts / "answers" / "evaluation", "images": artefacts / "images" / "evaluation"}
    run_job(intervene.work, Job("intervene", RUN), folder, inputs, batch=batch)
    (folder / "run.json").write_text(json.dumps({"wildcards": dict(RUN)}))
    return folder


@pytest.fixture(scope="module")
def measured(artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Read-out -> the stage's artefact on a run that has it; that of `concepts` cuts the reference states."""
    root, found = tmp_path_factory.mktemp("intervened"), {}
    inputs = {"backbone": artefacts / "backbone", "sae": artefacts / "sae"}
    inputs |= {"answers": artefacts / "answers" / "training", "images": artefacts / "images" / "training"}
    for readout in READOUTS:
        interface = micro_study().interface.model_dump(mode="json")
        interface["model"] |= {"readout": readout, "reference_state": readout == "references"}
        run_job(train_interface.work, Job("train_interface", RUN), root / "runs" / readout, inputs, interface=interface)
        found[readout] = intervened(artefacts, root / "runs" / readout, root / readout)
    return found


def rows(folder: Path) -> pd.DataFrame:
    return read_measurements([folder])


def test_every_readout_has_the_interventions_that_its_units_allow(measured: dict[str, Path]) -> None:
    for readout, interventions in READOUTS.items():
        assert set(rows(measured[readout])["intervention"]) == interventions
    kinds = set(read_balances([measured["concepts"]])["arm"])
    assert kinds == {"matched", "matched_zero", "matched_mean", "matched_resample"}
    assert not len(read_balances([measured["words"]]))


def test_nothing_comes_of_an_edit_of_nothing(measured: dict[str, Path]) -> None:
    for folder in measured.values():
        sham = rows(folder).query("intervention == 'sham'")
        assert len(sham) == 3 * 2 * 2 and (sham["value"] == 0).all(), "three measures of two samples of two benchmarks, exactly"


def test_an_edit_of_everything_leaves_nothing_of_what_was_read(measured: dict[str, Path]) -> None:
    """With the reference states cut, a slot without any concept is the same whatever the sample was; as it was read, it is not."""
    curve = rows(measured["concepts"]).query("intervention == 'curve' and measure == 'score' and benchmark == 'refcoco'")
    own, none = (curve.loc[curve["arm"] == arm, "value"] for arm in ("all", "none_zero"))
    assert len(own) == len(none) == 4 and own.nunique() == 4
    assert not (own.to_numpy() == none.to_numpy()).any()


def test_samples_are_taken_round_the_images_and_have_a_target(artefacts: Path, measured: dict[str, Path]) -> None:
    found = rows(measured["concepts"]).query("intervention == 'curve' and arm == 'all' and measure == 'score' and benchmark == 'refcoco'")
    split = [sample for sample in read_samples(manifest(artefacts / "data", "refcoco", "val")) if decode(sample.target).any()]
    images = list(dict.fromkeys(sample.image for sample in split))
    assert list(found["image"]) == (images * 4)[:4] and set(found["sample_id"]) <= {sample.sample_id for sample in split}
    fewer = rows(measured["concepts"]).query("intervention == 'sham' and measure == 'iou_change' and benchmark == 'refcoco'")
    assert list(fewer["sample_id"]) == list(found["sample_id"])[:2]


def test_the_size_of_a_batch_changes_no_more_than_roundings(artefacts: Path, measured: dict[str, Path], tmp_path: Path) -> None:
    """One sample at a time instead of all: other batches, other order of adding."""
    run = measured["concepts"].parent / "runs" / "concepts"
    again, alone = (intervened(artefacts, run, tmp_path / name, batch) for name, batch in (("again", 32), ("alone", 1)))
    for name in ("measurements.csv", "balance.csv"):
        assert (again / name).read_bytes() == (measured["concepts"] / name).read_bytes()
    keys = ["intervention", "arm", "at", "measure", "benchmark", "sample_id"]
    both = rows(again).merge(rows(alone), on=keys, suffixes=("", "_alone"))
    both = both[both["measure"].isin(["score", "kept_score", "removed_score", "observed", "predicted"])]
    assert len(both) > 100
    assert ((both["value"] - both["value_alone"]).abs() < 1e-3 + 1e-3 * both["value"].abs()).all()
