"""Evaluation on cached answers says what evaluation with live answers says, for the same weights and words.

Caches in single precision agree up to the order of adding. In half precision an entry is rounded by 2^-11 of itself, which may move a
heat map or a confidence by a few thousandths of its range, and a mask by the pixels at its border.
"""

from pathlib import Path

import pandas as pd
import pytest
import torch

from segcompass.datasets.artefact import evaluated_samples, gold_thoughts, sample_image
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.checkpoint import load_interface, load_joint
from segcompass.joint.inference import CachedThoughts, Predictor, Segmenting, Thoughts
from segcompass.protocols.records import read_records
from segcompass.stages import cache_answers, embed_images, evaluate_interface, evaluate_joint
from segcompass.study.jobs import Job
from tests.arithmetic import epsilons
from tests.joint.conftest import LAYERS, run_job
from tests.tiny import micro_study

pytestmark = pytest.mark.numerical

CPU = torch.device("cpu")
SPLITS = micro_study().evaluation.splits
LAYERS_DEEP = 12
"""Layers of vision tower, language model, interface and SAM's decoder that a number may pass through."""


@pytest.fixture(scope="module")
def single(artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The caches of evaluation once more, in single precision."""
    root = tmp_path_factory.mktemp("single")
    given = {"data": artefacts / "data", "backbone": artefacts / "backbone"}
    for part in ("evaluation", "gold"):
        job = Job("cache_answers", (("part", part),))
        run_job(cache_answers.work, job, root / "answers" / part, given, layers=LAYERS, dtype="float32")
    job = Job("embed_images", (("segmenter", "sam"), ("part", "evaluation")))
    run_job(embed_images.work, job, root / "images" / "evaluation", given, dtype="float32")
    return root


def from_cache(artefacts: Path, caches: Path, part: str, benchmark: str) -> tuple[Segmenting, Thoughts]:
    model = load_interface(artefacts / "interface", artefacts / "backbone", artefacts / "sae", micro_study().runtime)
    samples = [sample for name, _, sample in evaluated_samples(artefacts / "data", SPLITS) if name == benchmark]
    answers = CachedAnswers(caches / "answers" / part, model.dictionary.hook_layer, CPU)
    images = CachedImages(caches / "images" / "evaluation", "sam", CPU)
    return Segmenting(model, 0.5), CachedThoughts(answers, images, model).of(benchmark, "val", samples)


def live(artefacts: Path, part: str, benchmark: str) -> tuple[Segmenting, Thoughts]:
    study = micro_study()
    model = load_joint(artefacts / "interface", artefacts / "backbone", artefacts / "sae", study.runtime, study.answer)
    predictor = Predictor(model, study.answer.longest, 0.5)
    samples = [sample for name, _, sample in evaluated_samples(artefacts / "data", SPLITS) if name == benchmark]
    images, texts = [sample_image(artefacts / "data", sample) for sample in samples], [sample.text for sample in samples]
    if part == "evaluation":
        return predictor, predictor.think(images, texts)
    gold = gold_thoughts(artefacts / "data", "val")
    return predictor, predictor.read(images, texts, [gold[sample.sample_id] for sample in samples])


@pytest.mark.parametrize("part", ["evaluation", "gold"])
@pytest.mark.parametrize("benchmark", SPLITS)
def test_cached_thoughts_are_the_live_ones(artefacts: Path, single: Path, part: str, benchmark: str) -> None:
    segmenting, cached = from_cache(artefacts, single, part, benchmark)
    predictor, own = live(artefacts, part, benchmark)
    assert (cached.texts, cached.status, cached.sizes) == (own.texts, own.status, own.sizes)
    for ours, theirs in ((cached.hidden, own.hidden), (cached.reading.codes, own.reading.codes)):
        for index in range(len(cached.texts)):
            seen, wanted = (thoughts.reading.read[index] for thoughts in (cached, own))
            assert isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor)
            assert epsilons(ours[index][seen], theirs[index][wanted]) < 4 * LAYERS_DEEP * 128**0.5
            assert torch.equal(cached.reading.token_types[index][seen], own.reading.token_types[index][wanted])
            assert torch.equal(cached.reading.ids[index][seen], own.reading.ids[index][wanted])
    with torch.no_grad():
        found, expected = segmenting.segment(cached), predictor.segment(own)
    for name in ("heat", "confidence_logits", "mask_logits"):
        assert epsilons(getattr(found, name), getattr(expected, name)) < 4 * LAYERS_DEEP * 128**0.5, name
    for boxes, wanted in zip(cached.boxes, own.boxes, strict=True):
        assert boxes == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("part", ["evaluation", "gold"])
def test_half_precision_moves_a_map_by_a_few_thousandths(artefacts: Path, part: str) -> None:
    for benchmark in SPLITS:
        segmenting, cached = from_cache(artefacts, artefacts, part, benchmark)
        predictor, own = live(artefacts, part, benchmark)
        with torch.no_grad():
            found, expected = segmenting.segment(cached), predictor.segment(own)
        for name in ("heat", "confidence_logits", "mask_logits"):
            ours, theirs = getattr(found, name), getattr(expected, name)
            assert float((ours - theirs).square().mean().sqrt()) < 0.005 * float(theirs.abs().max()), name
        assert (found.mask_logits > 0).eq(expected.mask_logits > 0).float().mean() > 0.995


def test_both_stages_write_the_same_records_for_the_same_run(artefacts: Path, single: Path, tmp_path: Path) -> None:
    """A run of the interface experiment has the backbone's own policy, so the stage of joint training's runs can evaluate it too."""
    inputs = {name: artefacts / name for name in ("data", "backbone", "sae")} | {"control-sae": artefacts / "sae"}
    inputs |= {"run": artefacts / "interface"}
    cached = {"answers": single / "answers" / "evaluation", "gold": single / "answers" / "gold", "images": single / "images" / "evaluation"}
    one = run_job(
        evaluate_interface.work,
        Job("evaluate_interface", (("variant", "reference"), ("seed", "0"))),
        tmp_path / "interface",
        inputs | cached,
    )
    other = run_job(evaluate_joint.work, Job("evaluate_joint", (("variant", "full"), ("seed", "0"))), tmp_path / "signals", inputs)
    assert one.rows == other.rows == {f"{name}/val": len(list(evaluated_samples(artefacts / "data", {name: ["val"]}))) for name in SPLITS}
    for benchmark in SPLITS:
        ours, theirs = (read_records(tmp_path / name / benchmark / "val" / "records.csv") for name in ("interface", "signals"))
        assert set(ours["experiment"]) == {"interface"} and set(theirs["experiment"]) == {"signals"}
        assert ours["oracle_thought_iou"].notna().all(), "gold thoughts are asked for"
        same = [name for name in ours if name not in ("experiment", "variant", "confidences")]
        pd.testing.assert_frame_equal(ours[same], theirs[same], rtol=1e-3, atol=1e-4)
        for mine, other_one in zip(ours["confidences"], theirs["confidences"], strict=True):
            assert [float(x) for x in mine.split()] == pytest.approx([float(x) for x in other_one.split()], abs=1e-4)


def test_a_sample_that_was_not_answered_is_no_silent_gap(artefacts: Path) -> None:
    samples = [sample for *_, sample in evaluated_samples(artefacts / "data", SPLITS)]
    model = load_interface(artefacts / "interface", artefacts / "backbone", artefacts / "sae", micro_study().runtime)
    answers = CachedAnswers(artefacts / "answers" / "evaluation", model.dictionary.hook_layer, CPU)
    thoughts = CachedThoughts(answers, CachedImages(artefacts / "images" / "evaluation", "sam", CPU), model)
    with pytest.raises(KeyError):
        thoughts.of("refcocog", "val", samples[:1])


def test_gold_thoughts_and_controls_are_measured_only_where_the_study_asks(artefacts: Path, tmp_path: Path) -> None:
    inputs = {name: artefacts / name for name in ("data", "backbone", "sae")} | {"control-sae": artefacts / "sae"}
    inputs |= {"run": artefacts / "interface", "answers": artefacts / "answers" / "evaluation"}
    inputs |= {"images": artefacts / "images" / "evaluation"}
    records = {}
    for variant in ("reference", "untrained"):
        own = inputs | ({"gold": artefacts / "answers" / "gold"} if variant == "reference" else {})
        run_job(evaluate_interface.work, Job("evaluate_interface", (("variant", variant), ("seed", "0"))), tmp_path / variant, own)
        records[variant] = read_records(tmp_path / variant / "grefcoco" / "val" / "records.csv")
    more = [name for name in records["reference"] if name.startswith(("oracle_", "random_")) and name != "random_token_coverage"]
    target = records["reference"]["no_target"] == 0
    assert records["reference"].loc[target, more].notna().all(axis=None) and records["untrained"][more].isna().all(axis=None)
    same = [name for name in records["reference"] if name not in {"variant", *more}]
    pd.testing.assert_frame_equal(records["untrained"][same], records["reference"][same])  # the same weights under another name
