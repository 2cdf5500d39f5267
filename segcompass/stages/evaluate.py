"""Evaluates a trained run on every benchmark and split of the study: greedy answers, slots by confidence, one record a sample.

One job evaluates all splits of a run, because loading the models costs more than most splits do. Runs that the study names are evaluated
with the gold thought in place of their own too.
"""

import json
import time

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from segcompass.backbone.interface import OTHER, Image
from segcompass.backbone.runtime import prepare_torch
from segcompass.concepts.coverage import coverage
from segcompass.concepts.quality import heat_iou, reconstruction, thought_scores
from segcompass.datasets.artefact import gold_thoughts, manifest, sample_image
from segcompass.datasets.masks import Rle, decode, encode
from segcompass.datasets.samples import Sample, read_samples
from segcompass.joint.checkpoint import load_run
from segcompass.joint.inference import Prediction, Predictor, Thoughts, leading_slots
from segcompass.joint.model import Segmentation
from segcompass.joint.scores import Row, oracle_thought_columns, sample_columns, score_columns
from segcompass.protocols.coco_results import write_predictions, write_truth
from segcompass.protocols.records import write_records
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.checkpoint import load_dictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.study.analysis import KEPT_HEAT_MAPS, EvaluationSettings
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.world.thoughts import thought_is_right

FLAGS = {
    "data": "artefact of prepare_data",
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the dictionary that the run was trained with",
    "control-sae": "artefact of train_sae, the untrained dictionary",
    "run": "artefact of train_joint",
}


def work(stage: Stage) -> None:
    """Fills `<benchmark>/<split>/` with records, COCO files and the first heat maps."""
    settings = EvaluationSettings.model_validate_json(json.dumps(stage.params["evaluation"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    prepare_torch(stage.params["threads"], 0)
    model = load_run(stage.inputs["run"], stage.inputs["backbone"], stage.inputs["sae"], runtime, answer)
    predictor = Predictor(model, answer.longest, settings.confidence_threshold)
    evaluator = Evaluator(predictor, load_dictionary(stage.inputs["control-sae"]).to(runtime.device), settings, stage)
    for benchmark, splits in settings.splits.items():
        for split in splits:
            started = time.perf_counter()
            count = evaluator.run(benchmark, split)
            stage.rows[f"{benchmark}/{split}"] = count
            milliseconds = 1000 * (time.perf_counter() - started) / max(1, count)
            stage.facts[f"milliseconds per sample, {benchmark}/{split}"] = round(milliseconds, 1)


class Evaluator:
    """Writes the records of splits."""

    def __init__(self, predictor: Predictor, control: Dictionary, settings: EvaluationSettings, stage: Stage) -> None:
        self.predictor, self.control, self.settings, self.stage = predictor, control, settings, stage
        self.data = stage.inputs["data"]
        self.identity = {"variant": stage.wildcards["variant"], "seed": int(stage.wildcards["seed"])}

    def run(self, benchmark: str, split: str) -> int:
        """Evaluates one split.

        Returns:
            Number of records, which is that of the manifest.
        """
        samples = list(read_samples(manifest(self.data, benchmark, split)))
        gold = gold_thoughts(self.data, split)
        asked = self.identity["variant"] in self.settings.oracle_thoughts
        rows: list[Row] = []
        masks: list[Rle] = []
        heat: dict[str, np.ndarray] = {}
        seen: set[str] = set()
        for start in tqdm(range(0, len(samples), self.settings.batch), desc=f"{benchmark} {split}", disable=None):
            part = samples[start : start + self.settings.batch]
            images = [sample_image(self.data, sample) for sample in part]
            thoughts = self.predictor.think(images, [sample.text for sample in part])
            with torch.no_grad():
                output = self.predictor.segment(thoughts)
            predictions = self.predictor.predictions(thoughts, output)
            taught = self._taught(part, images, thoughts.texts, predictions, gold) if gold and asked else [None] * len(part)
            for index, prediction in enumerate(predictions):
                mask = encode(prediction.mask)
                row = {"benchmark": benchmark, "split": split} | self.identity | sample_columns(part[index])
                row |= self._answer_columns(thoughts, index, prediction, gold.get(part[index].sample_id))
                row |= score_columns(benchmark, part[index], prediction, mask)
                row |= oracle_thought_columns(benchmark, part[index], taught[index])
                row |= self._quality_columns(thoughts, output, index, prediction, part[index])
                rows.append(row)
                masks.append(mask)
                if part[index].image not in seen and len(seen) < KEPT_HEAT_MAPS:
                    seen.add(part[index].image)
                    joined = output.heat[index, leading_slots(prediction)].amax(0).sigmoid()
                    heat[part[index].sample_id] = joined.half().cpu().numpy()
        folder = self.stage.folder / benchmark / split
        folder.mkdir(parents=True)
        write_records(rows, folder / "records.csv")
        write_truth(samples, folder / "manifest_coco.json")
        scores = [max(float(value) for value in row["confidences"].split()) for row in rows]
        write_predictions(samples, masks, scores, folder / "predictions.json")
        np.savez(folder / "heatmaps.npz", **heat)  # type: ignore[arg-type]
        return len(rows)

    @torch.no_grad()
    def _taught(
        self, samples: list[Sample], images: list[Image], answers: list[str], own: list[Prediction], gold: dict[str, str]
    ) -> list[Prediction]:
        """Predictions from the gold thoughts; an answer that is gold word for word has led to its own already."""
        words = [gold[sample.sample_id] for sample in samples]
        wrong = [i for i, (text, thought) in enumerate(zip(answers, words, strict=True)) if text != self.predictor.written(thought)]
        if not wrong:
            return own
        given = self.predictor.read([images[i] for i in wrong], [samples[i].text for i in wrong], [words[i] for i in wrong])
        taught = dict(zip(wrong, self.predictor.predictions(given, self.predictor.segment(given)), strict=True))
        return [taught.get(i, prediction) for i, prediction in enumerate(own)]

    def _answer_columns(self, thoughts: Thoughts, index: int, prediction: Prediction, gold: str | None) -> Row:
        text = thoughts.texts[index]
        right = thought_is_right(text, gold) if gold is not None else None
        return {
            "answer": text,
            "status": prediction.status,
            "format_valid": prediction.status == "ok",
            "predicted_no_target": prediction.no_target,
            "confidences": " ".join(f"{value:.6f}" for value in prediction.confidences),
            "thought_correct": "" if right is None else int(right),
        }

    def _quality_columns(self, thoughts: Thoughts, output: Segmentation, index: int, prediction: Prediction, sample: Sample) -> Row:
        model, types = self.predictor.model, thoughts.states.token_types[index]
        tokens = types != OTHER
        hidden, codes = thoughts.states.hidden[index][tokens].float(), thoughts.codes[index][tokens]
        control = self.control.encode(hidden)
        mse, l0 = reconstruction(model.dictionary, hidden, codes)
        row: Row = {"sae_mse": mse, "l0": l0, "random_sae_mse": reconstruction(self.control, hidden, control)[0]}
        target = decode(sample.target)
        if not target.any():
            return row | dict.fromkeys(("heat_iou", "coverage", "random_token_coverage", "random_coverage"), "")
        heat = output.heat[index, leading_slots(prediction)]
        row["heat_iou"] = heat_iou(heat, model.segmenter.to_low_resolution(target), thoughts.valid[index])
        boxes = model.vlm.token_boxes(sample.height, sample.width)

        def covered(some_codes: Tensor) -> tuple[float, float]:
            return coverage(thought_scores(some_codes, types[tokens]), boxes, target, self.settings.coverage_fraction)

        row["coverage"], row["random_token_coverage"] = covered(codes)
        row["random_coverage"] = covered(control)[0]
        return row


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("evaluate", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
