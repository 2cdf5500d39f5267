"""Scoring 10,000 predictions of 640 x 480: `segcompass score` against the dense loop of the usual evaluators, and its memory.

The dense loop decodes both masks, takes logical and and or, and sums, sample by sample, as the evaluators of this field do. Both read the
same two files. Memory is the growth of the process's peak between 10,000 and 40,000 samples.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from segcompass.datasets.masks import encode
from segcompass.protocols.score_files import score_files
from segcompass.protocols.scoring import summarise

HEIGHT, WIDTH, SAMPLES = 480, 640, 10_000
SHAPES = 200
"""Different masks; files repeat them in random pairs."""


def blobs(count: int, generator: np.random.Generator) -> list[dict]:
    """Masks like those of objects: unions of ellipses with a ragged edge."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    found = []
    for _ in range(count):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        for _ in range(generator.integers(1, 4)):
            row, column = generator.integers(60, HEIGHT - 60), generator.integers(60, WIDTH - 60)
            tall, wide = generator.integers(20, 120, 2)
            angle = np.arctan2(rows - row, columns - column)
            edge = 1 + 0.08 * np.sin(generator.integers(5, 40) * angle)
            mask |= ((rows - row) / tall) ** 2 + ((columns - column) / wide) ** 2 < edge
        found.append(encode(mask))
    return found


def write_files(folder: Path, samples: int) -> tuple[Path, Path]:
    """A samples file and a predictions file in another order."""
    generator = np.random.default_rng(0)
    masks = blobs(SHAPES, generator)
    pairs = generator.integers(0, SHAPES, (samples, 2))
    truths, predictions = folder / "samples.jsonl", folder / "predictions.jsonl"
    with truths.open("w") as file:
        for index, (truth, _) in enumerate(pairs):
            row = {
                "sample_id": f"s{index}",
                "image": f"i{index // 3}.jpg",
                "height": HEIGHT,
                "width": WIDTH,
                "text": "x",
                "no_target": False,
            }
            file.write(json.dumps(row | {"target": masks[truth], "ignore": None}) + "\n")
    with predictions.open("w") as file:
        for index in generator.permutation(samples):
            file.write(json.dumps({"sample_id": f"s{index}", "segmentation": masks[pairs[index][1]], "no_target": False}) + "\n")
    return truths, predictions


def dense_loop(truths: Path, predictions: Path) -> tuple[float, float, float]:
    """(seconds, gIoU, cIoU)."""
    started = time.perf_counter()
    by_id = {row["sample_id"]: row["segmentation"] for row in map(json.loads, predictions.open())}
    total_i, total_u, ious = 0, 0, []
    for row in map(json.loads, truths.open()):
        truth, predicted = coco.decode(row["target"]), coco.decode(by_id[row["sample_id"]])
        intersection, union = np.logical_and(truth, predicted).sum(), np.logical_or(truth, predicted).sum()
        total_i, total_u = total_i + int(intersection), total_u + int(union)
        ious.append(intersection / union if union else 1.0)
    return time.perf_counter() - started, float(np.mean(ious)), total_i / total_u


def peak_of_a_fresh_process(folder: Path) -> int:
    """Peak resident memory in kB of scoring the folder's files in a process of its own."""
    return int(subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Prints the figures; the last line is one JSON object."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_files(folder, SAMPLES)
        dense_seconds, dense_giou, dense_ciou = dense_loop(*files)
        started = time.perf_counter()
        columns = score_files(*files, "refcoco", missing_is_empty=False)
        seconds = time.perf_counter() - started
        metrics = summarise(columns, "refcoco")
        small = peak_of_a_fresh_process(folder)
        write_files(folder, 4 * SAMPLES)
        large = peak_of_a_fresh_process(folder)
    print(f"dense loop {SAMPLES / dense_seconds:.0f} samples/s, segcompass score {SAMPLES / seconds:.0f} samples/s")
    result = {
        "samples": SAMPLES,
        "ratio": dense_seconds / seconds,
        "dense_seconds": dense_seconds,
        "seconds": seconds,
        "largest_difference": max(abs(metrics["gIoU"] - dense_giou), abs(metrics["cIoU"] - dense_ciou)),
        "peak_kB_10k": small,
        "peak_kB_40k": large,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        score_files(Path(sys.argv[1], "samples.jsonl"), Path(sys.argv[1], "predictions.jsonl"), "refcoco", missing_is_empty=False)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    else:
        main()
