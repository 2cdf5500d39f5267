"""Evaluation of a run on the splits of a study: slots by confidence, one record a sample, whatever its thoughts come from."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from segcompass.backbone.token_types import OTHER
from segcompass.concepts.coverage import covered_shares, pixels_under
from segcompass.concepts.quality import heat_iou, reconstruction, thought_scores
from segcompass.datasets.artefact import gold_thoughts, manifest
from segcompass.datasets.masks import Rle, decode, encode
from segcompass.datasets.samples import Sample, read_samples
from segcompass.joint.inference import Prediction, Segmenting, Thoughts, leading_slots
from segcompass.joint.model import Segmentation
from segcompass.joint.scores import Row, oracle_slot_columns, oracle_thought_columns, sample_columns, score_columns
from segcompass.protocols.coco_results import write_predictions, write_truth
from segcompass.protocols.records import write_records
from segcompass.sae.dictionary import Dictionary
from segcompass.study.analysis import KEPT_HEAT_MAPS, EvaluationSettings
from segcompass.world.thoughts import is_considered, thought_is_right

Think = Callable[[str, str, Sequence[Sample]], Thoughts]
"""Benchmark, split and some of its samples -> their thoughts."""
Teach = Callable[[str, str, Sequence[Sample], Thoughts, list[Prediction]], list[Prediction]]
"""The same, with the thoughts and predictions that the run came to by itself -> its predictions under the gold thoughts."""


class Evaluator:
    """Writes the records of splits of one run."""

    def __init__(
        self,
        segmenting: Segmenting,
        think: Think,
        teach: Teach | None,
        control: Dictionary | None,
        settings: EvaluationSettings,
        data: Path,
        run: Row,
    ) -> None:
        """`teach` None leaves gold thoughts out, `control` None the controls; `run` holds the columns that tell the run from others."""
        self.segmenting, self.think, self.teach, self.control = segmenting, think, teach, control
        self.settings, self.data, self.run = settings, data, run

    def all_splits(self, folder: Path) -> Iterator[tuple[str, int, float]]:
        """Evaluates every split into `<folder>/<benchmark>/<split>/`, with records, COCO files and the first heat maps.

        Yields:
            `<benchmark>/<split>`, its number of records, which is that of the manifest, and milliseconds a sample.
        """
        for benchmark, splits in self.settings.splits.items():
            for split in splits:
                started = time.perf_counter()
                count = self._split(benchmark, split, folder / benchmark / split)
                yield f"{benchmark}/{split}", count, 1000 * (time.perf_counter() - started) / max(1, count)

    def _split(self, benchmark: str, split: str, folder: Path) -> int:
        samples = list(read_samples(manifest(self.data, benchmark, split)))
        gold = gold_thoughts(self.data, split)
        rows: list[Row] = []
        masks: list[Rle] = []
        heat: dict[str, np.ndarray] = {}
        seen: dict[int, set[str]] = {}
        for start in tqdm(range(0, len(samples), self.settings.batch), desc=f"{benchmark} {split}", disable=None):
            part = samples[start : start + self.settings.batch]
            thoughts = self.think(benchmark, split, part)
            with torch.no_grad():
                output = self.segmenting.decide(thoughts) if self.control is None else self.segmenting.segment(thoughts)
            predictions = self.segmenting.predictions(thoughts, output)
            taught: Sequence[Prediction | None] = [None] * len(part)
            if self.teach is not None and gold:
                taught = self.teach(benchmark, split, part, thoughts, predictions)
            for index, prediction in enumerate(predictions):
                mask = encode(prediction.mask)
                row = self.run | {"benchmark": benchmark, "split": split} | sample_columns(part[index])
                row |= _answer_columns(thoughts.texts[index], prediction, gold.get(part[index].sample_id))
                row |= score_columns(benchmark, part[index], prediction, mask)
                row |= oracle_slot_columns(benchmark, part[index], None if self.control is None else prediction)
                row |= oracle_thought_columns(benchmark, part[index], taught[index])
                row |= self._quality_columns(thoughts, output, index, prediction, part[index])
                rows.append(row)
                masks.append(mask)
                if is_kept(seen, part[index].image, len(part[index].instances)):
                    joined = output.heat[index, leading_slots(prediction)].amax(0).sigmoid()
                    heat[part[index].sample_id] = joined.half().cpu().numpy()
        folder.mkdir(parents=True)
        write_records(rows, folder / "records.csv")
        write_truth(samples, folder / "manifest_coco.json")
        scores = [max(float(value) for value in row["confidences"].split()) for row in rows]
        write_predictions(samples, masks, scores, folder / "predictions.json")
        np.savez(folder / "heatmaps.npz", **heat)  # type: ignore[arg-type]
        return len(rows)

    def _quality_columns(self, thoughts: Thoughts, output: Segmentation, index: int, prediction: Prediction, sample: Sample) -> Row:
        model, types = self.segmenting.interface_model, thoughts.reading.token_types[index]
        assert isinstance(thoughts.reading.codes, Tensor)
        tokens = types != OTHER
        hidden, codes = thoughts.hidden[index][tokens], thoughts.reading.codes[index][tokens]
        mse, l0 = reconstruction(model.dictionary, hidden, codes)
        row: Row = {"sae_mse": mse, "l0": l0, "random_sae_mse": "", "random_coverage": ""}
        if self.control is not None:
            control = self.control.encode(hidden)
            row["random_sae_mse"] = reconstruction(self.control, hidden, control)[0]
        target = decode(sample.target)
        if not target.any():
            return row | dict.fromkeys(("heat_iou", "coverage", "random_token_coverage"), "")
        heat = output.heat[index, leading_slots(prediction)]
        row["heat_iou"] = heat_iou(heat, model.segmenter.to_low_resolution(target), thoughts.valid[index])

        under = pixels_under(thoughts.boxes[index], target)

        def covered(some_codes: Tensor) -> tuple[float, float]:
            shares = covered_shares(thought_scores(some_codes, types[tokens]), *under, (self.settings.coverage_fraction,))
            return float(shares[0][0]), float(shares[1][0])

        row["coverage"], row["random_token_coverage"] = covered(codes)
        if self.control is not None:
            row["random_coverage"] = covered(control)[0]
        return row


def is_kept(seen: dict[int, set[str]], image: str, targets: int) -> bool:
    """Whether a sample's heat map is kept: that of the first sample of an image that has no target, one, or several, of few images each.

    Args:
        seen: min(2, targets) -> images of which one was kept; the image is added to it.
        image: of the sample.
        targets: how many it has.
    """
    images = seen.setdefault(min(2, targets), set())
    if image in images or len(images) == KEPT_HEAT_MAPS:
        return False
    images.add(image)
    return True


def _answer_columns(text: str, prediction: Prediction, gold: str | None) -> Row:
    right = thought_is_right(text, gold) if gold is not None else None
    return {
        "answer": text,
        "status": prediction.status,
        "format_valid": prediction.status == "ok",
        "predicted_no_target": prediction.no_target,
        "confidences": " ".join(f"{value:.6f}" for value in prediction.confidences),
        "thought_correct": "" if right is None else int(right),
        "thought_considered": "" if right is None else int(is_considered(text)),
    }
