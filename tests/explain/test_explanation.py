"""Explanations of real answers: their figures add up, agree with the battery's own, and stand in the files; faults are one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segcompass.causal.attribution import ablated_alone
from segcompass.causal.measurements import PATHS
from segcompass.causal.traceability import traceability
from segcompass.cli import main
from segcompass.datasets.images import read_image
from segcompass.datasets.masks import decode
from segcompass.explain.answered import answered, concept_chunk
from segcompass.explain.donors import donors_for
from segcompass.explain.explanation import STEPS, Explanation, explain, unexplained
from segcompass.joint.inference import Predictor
from segcompass.joint.stored_run import StoredRun
from tests.arithmetic import same_sums

LISTED = 6


@pytest.fixture(scope="module")
def found(predictor: Predictor, stored: StoredRun, asked: tuple[Path, str]) -> Explanation:
    image = read_image(asked[0])
    answer = answered(predictor, image, asked[1])
    assert answer.prediction.status == "ok" and answer.slots
    return explain(predictor, answer, donors_for(image, stored, []), LISTED)


def test_the_figure_of_a_sample_is_what_the_battery_measures_of_it(found: Explanation, predictor: Predictor) -> None:
    chunk = concept_chunk(predictor.interface_model, found.answer)
    rows = {(one.arm, one.at, one.measure): float(one.values[0]) for one in traceability(chunk, LISTED, [1, 4, LISTED], STEPS)}
    assert [one.removed for one in found.traced] == [1, 4, LISTED] and found.score == rows["whole", "", "score"]
    for one in found.traced:
        for measure in ("observed", "predicted", "predicted_integrated", "observed_mask", "predicted_mask"):
            assert getattr(one, measure) == rows["top", str(one.removed), measure]
        assert 0 <= one.iou_after <= 1
    last = found.traced[-1]
    told = {"integrated": last.predicted_integrated, "gradient": last.predicted}
    assert found.errors() == {name: abs(one - last.observed) / abs(found.score) for name, one in told.items()}


def test_the_list_holds_the_concepts_that_matter_most_alone(found: Explanation, predictor: Predictor) -> None:
    for row, slot in enumerate(found.slots):
        chunk = concept_chunk(predictor.interface_model, found.answer, [slot.slot])
        (codes,) = chunk.units.samples  # type: ignore[attr-defined]
        (falls,), _ = ablated_alone(chunk, chunk.units, [np.arange(slot.active)], False)  # type: ignore[arg-type]
        assert slot.slot == found.answer.slots[row] and len(slot.carrying) == min(LISTED, slot.active)
        by_concept = dict(zip(codes.concepts.tolist(), falls, strict=True))
        assert [one.concept for one in slot.carrying] == sorted(by_concept, key=lambda concept: -abs(by_concept[concept]))[
            : len(slot.carrying)
        ]
        alone = torch.tensor([by_concept[one.concept] for one in slot.carrying])
        measured = torch.tensor([one.score_fall for one in slot.carrying], dtype=torch.float64)
        assert same_sums(measured, alone, terms=4096, layers=4, scale=abs(slot.score)), "many at once or each by itself"
        assert all(sum(one.by_tokens.values()) == pytest.approx(one.contribution, rel=1e-4, abs=1e-6) for one in slot.carrying)
        assert slot.together[0].alone == slot.carrying[0].score_fall and slot.together[0].removed == 1


def test_shares_of_paths_add_up(found: Explanation) -> None:
    for slot in found.slots:
        assert slot.paths and tuple(slot.paths.score) == PATHS
        assert sum(slot.paths.score.values()) == pytest.approx(slot.paths.total_score, abs=1e-5)
        assert sum(slot.paths.iou.values()) == pytest.approx(slot.paths.total_iou, abs=1e-9)
        assert sum(share for share in slot.paths.shares().values() if share is not None) == pytest.approx(1)


def test_a_donor_is_another_picture(found: Explanation, stored: StoredRun, asked: tuple[Path, str]) -> None:
    image = read_image(asked[0])
    assert found.donors and not any(np.array_equal(donor.image, image) for donor in found.donors)
    (given,) = donors_for(image, stored, [(str(asked[0]), "small disc")])
    assert given.instruction == "small disc" and given.name == asked[0].name


def test_an_answer_that_breaks_the_form_has_nothing_to_explain(found: Explanation, predictor: Predictor) -> None:
    nothing = unexplained(predictor, found.answer)
    assert not nothing.slots and not nothing.traced and np.isnan(list(nothing.errors().values())).all() and nothing.words == found.words


def test_files_agree_with_each_other_and_with_a_prediction(
    run: Path, asked: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(asked[0]), asked[1], "--model", str(run)]
    assert main(["predict", *words, "--out", str(tmp_path / "predicted")]) == 0
    capsys.readouterr()
    assert main(["explain", *words, "--concepts", "5", "--html", "--out", str(tmp_path / "explained")]) == 0
    said = capsys.readouterr().out
    told = json.loads((tmp_path / "explained" / "explanation.json").read_text())
    predicted = json.loads((tmp_path / "predicted" / "prediction.json").read_text())
    for field in ("instruction", "answer", "status", "no_target", "segmentation", "unknown_words"):
        assert told[field] == predicted[field]
    for slot in told["slots"]:
        same = predicted["slots"][slot["slot"]]
        assert slot["confidence"] == same["confidence"] and (decode(slot["segmentation"]) == decode(same["segmentation"])).mean() > 0.999
        assert len(slot["concepts"]) == min(5, slot["active_concepts"])
        assert all(
            f"{one['concept']:9}  {one['contribution']:+12.2f}  {one['contribution_integrated']:+10.2f}" in said for one in slot["concepts"]
        )
        assert all(len(one["codes_on_words"]) == len(told["words"]) for one in slot["concepts"])
    assert told["run"] == {"experiment": "joint", "variant": "full", "seed": "0", "fingerprint": "ab12"}
    assert [one["removed"] for one in told["traceability"]["removed"]] == [1, 4, 5]
    with Image.open(tmp_path / "explained" / "explanation.png") as picture:
        assert picture.width > 900
    assert "<h2>Slot" in (tmp_path / "explained" / "explanation.html").read_text()


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("explain", ["{image}", "zzz"], "no word that the model knows"),
        ("explain", ["{image}", "ring " * 2000], "shorten it"),
        ("explain", ["{image}", "x" * 10001], "more than 10000"),
        ("explain", ["none.png", "ring"], "none.png"),
        ("explain", ["{image}", "ring", "--donor", "none.png", "ring"], "none.png"),
        ("explain", ["{image}", "ring", "--donor", "{image}", " "], "--donor"),
        ("explain", ["{image}", "ring", "--donor", "{image}", "zzz"], "--donor: has no word"),
        ("edit", ["{image}", "ring"], "changes nothing"),
        ("edit", ["{image}", "ring", "--set", "red=-1"], "0 to 1000"),
        ("edit", ["{image}", "ring", "--set", "red=nan"], "0 to 1000"),
        ("edit", ["{image}", "ring", "--set", "red"], "CONCEPT=VALUE"),
        ("edit", ["{image}", "ring", "--set", "mauve=0"], "names no concept"),
        ("edit", ["{image}", "ring", "--set", "64=0"], "0 to 63"),
        ("edit", ["{image}", "ring", "--attribute", "colour", "--set", "3=0"], "without --swap-from"),
        ("edit", ["{image}", "ring", "--swap-thought", "ring", "--set", "3=0"], "without --swap-from"),
        ("edit", ["{image}", "ring", "--swap-from", "none.png", "disc"], "none.png"),
        ("edit", ["{image}", "ring", "--swap-from", "{image}", "zzz"], "--swap-from: has no word"),
        ("edit", ["{image}", "ring", "--swap-from", "{image}", "disc", "--attribute", "mood"], "colour, shape, size"),
        ("edit", ["{image}", "ring", "--thought", "red " * 60], "--thought: makes an answer"),
    ],
)
def test_faults_are_one_sentence_and_leave_nothing(
    command: str,
    words: list[str],
    said: str,
    run: Path,
    asked: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [word.replace("{image}", str(asked[0])) for word in words]
    assert main([command, *given, "--model", str(run), "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
