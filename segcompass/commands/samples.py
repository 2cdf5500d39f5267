"""`segcompass samples`: a benchmark's expressions as JSON lines, whatever its own format is."""

import argparse
import json
from pathlib import Path

from segcompass.datasets.load import load_samples
from segcompass.datasets.refer import SPLIT_BY
from segcompass.datasets.splits import BENCHMARKS, COUNTERFACTUALS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("data_root", type=Path, metavar="DATA_ROOT", help="folder with the layout of docs/data.md")
    parser.add_argument("--benchmark", required=True, choices=(*BENCHMARKS, *COUNTERFACTUALS.values()))
    parser.add_argument("--split", required=True, help="train, val, testA, testB or test")
    partitions = sorted({name for names in SPLIT_BY.values() for name in names})
    parser.add_argument("--split-by", choices=partitions, help="partition of the RefCOCO family; the usual one if left out")
    parser.add_argument("--per-ref", action="store_true", help="one sample a ref (its first sentence) instead of one a sentence")


def run(arguments: argparse.Namespace) -> int:
    """Prints `sample_id, image, height, width, text, no_target, target, ignore` of each sample."""
    for sample in load_samples(arguments.data_root, arguments.benchmark, arguments.split, arguments.split_by, arguments.per_ref):
        fields = ("sample_id", "image", "height", "width", "text", "no_target", "target", "ignore")
        print(json.dumps({name: getattr(sample, name) for name in fields}))
    return 0
