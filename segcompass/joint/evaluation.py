"""Evaluation of a run on the splits of a study: slots by confidence, one record a sample, whatever its thoughts come from."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from segcompass.backbone.token_types import OTHER
from segcompass.concepts.coverage import covered_shares, pixels_under
from segcompass.concepts.quality import heat_iou, reconstruction, thought_scores
from segcompass.datasets.artefact import gold_thoughts
from segcompass.datasets.masks import decode, encode
from segcompass.datasets.samples import Sample
from segcompass.joint.inference import Prediction, Segmenting, Thoughts, leading_slots
from segcompass.joint.model import Segmentation
from segcompass.joint.scores import Row, oracle_slot_columns, oracle_thought_columns, sample_columns, score_columns
from segcompass.joint.split_files import SplitFiles, shares
from segcompass.sae.dictionary import Dictionary
from segcompass.study.analysis import EvaluationSettings
from segcompass.study.shards import Shard
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

    def splits(self, folder: Path, shard: Shard) -> Iterator[tuple[str, int, float]]:
        """Evaluates a shard's share of every split into `<folder>/<benchmark>/<split>/`, with records, COCO files and the first heat maps.

        Yields:
            `<benchmark>/<split>`, its number of records, which is that of the manifest for the whole, and milliseconds a sample.
        """
        for benchmark, split, samples in shares(self.data, self.settings.splits, self.settings.batch, shard):
            started = time.perf_counter()
            files = self._evaluated(benchmark, split, samples)
            files.write(folder / benchmark / split)
            yield f"{benchmark}/{split}", len(files), 1000 * (time.perf_counter() - started) / max(1, len(files))

    def _evaluated(self, benchmark: str, split: str, samples: list[Sample]) -> SplitFiles:
        gold = gold_thoughts(self.data, split)
        files = SplitFiles()
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
                files.add(part[index], row, mask, partial(_heat_map, output, index, prediction))
        return files

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


def _heat_map(output: Segmentation, index: int, prediction: Prediction) -> np.ndarray:
    """What the leading slots of a sample see together, float16 [m, m]."""
    return output.heat[index, leading_slots(prediction)].amax(0).sigmoid().half().cpu().numpy()


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
