"""The figures that `segcompass explain` gives of one sample are those that the stage `intervene` measures of it among others."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.backbone.instruction import InstructionReading
from segcompass.causal.battery import Battery
from segcompass.datasets.artefact import manifest
from segcompass.datasets.samples import read_samples
from segcompass.explain.answered import Answered, concept_chunk
from segcompass.explain.explanation import FIGURES, traced
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.checkpoint import load_interface
from segcompass.joint.inference import CachedThoughts, Segmenting, leading_slots
from tests.joint.conftest import HOOK
from tests.tiny import micro_study

CPU = torch.device("cpu")
THRESHOLD = 0.5


def test_a_sample_has_the_figures_of_the_study(artefacts: Path) -> None:
    study = micro_study()
    settings = study.analysis.intervention
    model = load_interface(artefacts / "interface", artefacts / "backbone", artefacts / "sae", study.runtime)
    answers = CachedAnswers(artefacts / "answers" / "evaluation", HOOK, CPU)
    images = CachedImages(artefacts / "images" / "evaluation", "sam", CPU)
    battery = Battery(CachedThoughts(answers, images, model, sparse=True), settings, THRESHOLD, 4, artefacts / "data")
    (benchmark, splits), *_ = settings.splits.items()
    measured: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for row in battery.measurements(benchmark):
        if (row.intervention, row.arm) == ("traceability", "top"):
            measured.setdefault((row.split, row.sample_id), {})[row.at, row.measure] = row.value
    assert len(measured) == settings.traceability.samples > 1
    samples = {(split, one.sample_id): one for split in splits for one in read_samples(manifest(artefacts / "data", benchmark, split))}
    alone = CachedThoughts(answers, images, model)
    for (split, sample_id), expected in measured.items():
        sample = samples[split, sample_id]
        thoughts = alone.of(benchmark, split, [sample])
        segmenting = Segmenting(model, THRESHOLD)
        (prediction,) = segmenting.predictions(thoughts, segmenting.segment(thoughts))
        image, reading = np.zeros((sample.height, sample.width, 3), np.uint8), InstructionReading(1, 1, (), False)
        answer = Answered(image, sample.text, reading, thoughts.texts[0], thoughts, prediction, leading_slots(prediction))
        found = traced(concept_chunk(model, answer), settings.traceability.listed, settings.traceability.sizes, settings.steps)
        for one in found:
            for measure in FIGURES:
                assert getattr(one, measure) == pytest.approx(expected[str(one.removed), measure], rel=1e-3, abs=1e-4), measure
