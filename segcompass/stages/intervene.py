"""Edits the concepts of a trained run and records what happens to its masks: necessity of the top concepts, with random and sham controls.

The words stay as they are; only codes change. The slots whose masks are compared are fixed before the edit.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from segcompass.backbone.runtime import prepare_torch
from segcompass.causal.attribution import contributions
from segcompass.causal.edits import matched_random, top_concepts, zeroed
from segcompass.causal.effects import COLUMNS, effect, summarised
from segcompass.datasets.artefact import manifest, sample_image
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import Sample, read_samples
from segcompass.joint.checkpoint import load_run
from segcompass.joint.inference import Prediction, Predictor, Thoughts, leading_slots
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings

FLAGS = {
    "data": "artefact of prepare_data",
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the dictionary that the run was trained with",
    "run": "artefact of train_joint",
}
Row = dict[str, Any]


def work(stage: Stage) -> None:
    """Fills `effects.csv` and `summary.csv`."""
    settings, bootstrap = stage.params["intervention"], stage.params["bootstrap"]
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    prepare_torch(stage.params["threads"], settings["seed"])
    model = load_run(stage.inputs["run"], stage.inputs["backbone"], stage.inputs["sae"], runtime, answer)
    battery = Battery(Predictor(model, answer.longest, stage.params["confidence_threshold"]), settings, stage)
    rows = []
    for benchmark, splits in settings["splits"].items():
        for split in splits:
            rows += battery.run(benchmark, split, stage.params["batch"])
    effects = pd.DataFrame(rows, columns=list(COLUMNS))
    effects.to_csv(stage.folder / "effects.csv", index=False, lineterminator="\n")
    summary = summarised(effects, bootstrap["samples"], bootstrap["level"], bootstrap["seed"])
    identity = {"variant": stage.wildcards["variant"], "seed": stage.wildcards["seed"]}
    summary.assign(**identity).to_csv(stage.folder / "summary.csv", index=False, lineterminator="\n")
    stage.rows["effects"] = len(effects)
    stage.facts |= {"seed": settings["seed"], "device": runtime.device}


class Battery:
    """Runs the edits of the study on splits."""

    def __init__(self, predictor: Predictor, settings: dict[str, Any], stage: Stage) -> None:
        self.predictor, self.settings = predictor, settings
        self.data = stage.inputs["data"]
        self.identity = {"variant": stage.wildcards["variant"], "seed": int(stage.wildcards["seed"])}

    def run(self, benchmark: str, split: str, batch: int) -> list[Row]:
        """Effects on the first samples of a split that have a target."""
        split_samples = read_samples(manifest(self.data, benchmark, split))
        samples = [sample for sample in split_samples if decode(sample.target).any()][: self.settings["samples"]]
        rows: list[Row] = []
        for start in tqdm(range(0, len(samples), batch), desc=f"{benchmark} {split}", disable=None):
            part = samples[start : start + batch]
            place = {"benchmark": benchmark, "split": split} | self.identity
            rows += [place | row for row in self._effects(part, start)]
        return rows

    def _effects(self, samples: list[Sample], offset: int) -> list[Row]:
        images = [sample_image(self.data, sample) for sample in samples]
        thoughts = self.predictor.think(images, [sample.text for sample in samples])
        before = self._predicted(thoughts, thoughts.codes)
        slots = [leading_slots(prediction) for prediction in before]
        contribution = contributions(self.predictor, thoughts, slots)
        sham = self._predicted(thoughts, zeroed(thoughts.codes, [[]] * len(samples)))  # the same whatever m is
        rows = []
        for m in self.settings["top_concepts"]:
            top = [top_concepts(values, m) for values in contribution]
            draws = [np.random.default_rng([self.settings["seed"], m, offset + index]) for index in range(len(samples))]
            random = [matched_random(codes, chosen, draw) for codes, chosen, draw in zip(thoughts.codes, top, draws, strict=True)]
            for edit, concepts in (("top", top), ("random", random), ("identity", [[]] * len(samples))):
                after = sham if edit == "identity" else self._predicted(thoughts, zeroed(thoughts.codes, concepts))
                for index, sample in enumerate(samples):
                    row = {"sample_id": sample.sample_id, "image": sample.image, "m": m, "edit": edit}
                    row["edited_concepts"] = len(concepts[index])
                    rows.append(row | _compared(before[index], after[index], slots[index], decode(sample.target)))
        return rows

    @torch.no_grad()
    def _predicted(self, thoughts: Thoughts, codes: Tensor) -> list[Prediction]:
        return self.predictor.predictions(thoughts, self.predictor.segment(thoughts, codes))


def _compared(before: Prediction, after: Prediction, slots: list[int], target: np.ndarray) -> Row:
    change = float((after.confidences - before.confidences)[slots].mean())
    old, new = (np.asarray(prediction.masks[slots].any(0)) for prediction in (before, after))
    return {"slots": " ".join(map(str, slots)), "confidence_change": change} | effect(old, new, target)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("intervene", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
