"""The stage `exchange` on the artefacts of the micro study: all is measured, the sham is exactly 0, photographs have no pairs."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from segcompass.causal.examples import ARMS, read_examples
from segcompass.causal.measurements import BALANCE, COLUMNS
from segcompass.causal.overlap import iou
from segcompass.causal.swap import OTHER_ARMS, OWN_ARMS, STAY_ARMS
from segcompass.datasets.artefact import evaluated_samples
from segcompass.datasets.masks import decode
from segcompass.datasets.pairs import exchanged_pairs, paired_samples
from segcompass.provenance.stage import Stage
from segcompass.stages import exchange
from segcompass.study.jobs import Job, stage_params
from tests.joint.conftest import run_job
from tests.tiny import micro_study

JOB = Job("exchange", (("variant", "reference"), ("seed", "0")))
KEY = ["arm", "at", "measure"]


def inputs(artefacts: Path) -> dict[str, Path]:
    given = {name: artefacts / name for name in ("data", "backbone", "sae")} | {"run": artefacts / "interface"}
    given |= {"answers": artefacts / "answers" / "evaluation", "images": artefacts / "images" / "evaluation"}
    return given | {"pair-answers": artefacts / "answers" / "pairs", "pair-images": artefacts / "images" / "pairs"}


@pytest.fixture(scope="module")
def ran(artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stage, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("exchange") / "out"
    stage = run_job(exchange.work, JOB, folder, inputs(artefacts))
    rows = pd.read_csv(folder / "measurements.csv", dtype={"at": str}, keep_default_na=False)
    assert list(rows.columns) == list(COLUMNS) and len(rows) == stage.rows["measurements"]
    return stage, rows


def test_every_pair_has_every_arm(ran: tuple[Stage, pd.DataFrame], artefacts: Path) -> None:
    """Two pairs an attribute: one side of each, which is the sample of a row of its kind."""
    stage, rows = ran
    swaps = rows[rows["intervention"] == "swap"]
    pairs = exchanged_pairs(artefacts / "data", "test", 2)
    assert set(swaps["image"]) == {pair.pair for pair in pairs} and set(swaps["split"]) == {"test"}
    sides = {side.sample_id: pair for pair in pairs for side in pair.sides}
    assert all(sides[name].benchmark == benchmark for name, benchmark in zip(swaps["sample_id"], swaps["benchmark"], strict=True))
    counts = swaps.groupby(["measure", "arm"]).size()
    for arm in (*OWN_ARMS, "ceiling"):
        assert counts["cause", arm] == counts["cause_iou", arm] == 5 * 2
    for arm in (*OTHER_ARMS, "identity"):
        assert counts["isolation", arm] == counts["isolation_iou", arm] == 5 * 2
    for arm in STAY_ARMS:
        assert counts["stays", arm] == counts["stays_iou", arm] == 5 * 2
    assert stage.facts["concepts an attribute"] in (1, 2) and set(stage.facts["disentanglement on val"]) == {"1", "2"}


def test_examples_hold_the_masks_that_are_measured(ran: tuple[Stage, pd.DataFrame], artefacts: Path) -> None:
    """The first pair of each attribute: its IoU after an exchange less that before it, and whether the mask went to the other target."""
    stage, rows = ran
    examples, features = read_examples(stage.folder)
    pairs = exchanged_pairs(artefacts / "data", "test", 1)
    assert [one.pair for one in examples] == [pair.pair for pair in pairs if pair.kind == "cause"] and len(examples) == 5
    targets = {sample.sample_id: decode(sample.target) for _, _, sample in paired_samples(artefacts / "data", {"test": 1})}
    measured = rows.set_index(["arm", "at", "measure", "sample_id"])["value"]
    for one in examples:
        before, own, expected = decode(one.before), targets[one.edited], targets[one.expected]
        for arm in ARMS:
            mask, place = decode(one.after[arm]), (one.attribute, one.edited)
            change = iou(mask, expected) - iou(before, expected)
            assert measured[arm, place[0], "cause_iou", place[1]] == pytest.approx(change, abs=1e-6)
            assert measured[arm, place[0], "cause", place[1]] == float(iou(mask, expected) > iou(mask, own))
        assert len(one.concepts["attribute"]) <= stage.facts["concepts an attribute"]
        assert not set(one.concepts["attribute"]) & set(one.concepts["matched"])
        assert all(0 <= concept < features for concepts in one.concepts.values() for concept in concepts)


def test_thoughts_and_paths_are_measured_on_samples_of_the_splits(ran: tuple[Stage, pd.DataFrame], artefacts: Path) -> None:
    _, rows = ran
    settings = micro_study().analysis.exchange
    known = {(name, split, one.sample_id): one for name, split, one in evaluated_samples(artefacts / "data", settings.splits)}
    for intervention in ("thought_swap", "paths"):
        of = rows[rows["intervention"] == intervention]
        places = set(zip(of["benchmark"], of["split"], of["sample_id"], strict=True))
        assert len(places) == 2 * settings.samples and places <= set(known)
        assert not any(known[place].no_target for place in places)
        images = zip(of["benchmark"], of["split"], of["sample_id"], of["image"], strict=True)
        assert all(known[benchmark, split, name].image == image for benchmark, split, name, image in images)
    paths = rows[(rows["intervention"] == "paths") & (rows["arm"] == "resample")]
    sums = paths.groupby(["measure", "sample_id"])["value"].sum()
    for measure in ("", "_score"):
        assert sums[f"shapley{measure}"].to_numpy() == pytest.approx(sums[f"total{measure}"].to_numpy(), abs=1e-5)
    assert paths[paths["measure"] == "cell"].groupby("sample_id")["at"].nunique().eq(16).all()


def test_the_sham_is_exactly_zero(ran: tuple[Stage, pd.DataFrame]) -> None:
    _, rows = ran
    changes = ["cause_iou", "isolation_iou", "stays_iou", "moved_iou", "iou_change", "total", "total_score"]
    sham = rows[(rows["arm"] == "identity") & rows["measure"].isin(changes)]
    assert set(sham["intervention"]) == {"swap", "thought_swap", "paths"} and (sham["value"] == 0).all()


def test_balances_are_those_of_the_matched_concepts(ran: tuple[Stage, pd.DataFrame]) -> None:
    balance = pd.read_csv(ran[0].folder / "balance.csv")
    assert list(balance.columns) == list(BALANCE)
    assert set(balance["quantity"]) == {"frequency", "mass"} and set(balance["token_type"]) == {"thought"} and (balance["ratio"] > 0).all()


def test_a_second_run_has_the_same_bytes(ran: tuple[Stage, pd.DataFrame], artefacts: Path, tmp_path: Path) -> None:
    stage = run_job(exchange.work, JOB, tmp_path / "out", inputs(artefacts))
    for name in ("measurements.csv", "balance.csv", "examples.json"):
        assert (stage.folder / name).read_bytes() == (ran[0].folder / name).read_bytes()


def test_photographs_leave_the_swaps_out_and_say_so(artefacts: Path, tmp_path: Path) -> None:
    """The same data without pairs, and a study that still asks for swaps."""
    data = tmp_path / "data"
    shutil.copytree(artefacts / "data", data, ignore=shutil.ignore_patterns("pairs", "counterfactual*"))
    given = {name: path for name, path in inputs(artefacts).items() if not name.startswith("pair-")} | {"data": data}
    settings = stage_params(micro_study(), JOB)["exchange"] | {"paired": False}
    assert settings["interventions"] == ["swap", "thought_swap", "paths"]
    stage = run_job(exchange.work, JOB, tmp_path / "out", given, exchange=settings)
    rows = pd.read_csv(stage.folder / "measurements.csv")
    assert set(rows["intervention"]) == {"thought_swap", "paths"}
    assert read_examples(stage.folder) == ([], 0)
    assert "no counterfactual pairs" in stage.facts["swap"] and "photographs" in stage.facts["swap"]
