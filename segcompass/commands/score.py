"""`segcompass score`: metrics of a prediction file under a named protocol, with bootstrap intervals clustered by image."""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from segcompass.commands.flags import MOST_SEED, add_whole_number
from segcompass.protocols.score_files import score_files
from segcompass.protocols.scoring import PROTOCOLS, metric_terms
from segcompass.stats.bootstrap import ratio_interval

MOST_DRAWS = 1_000_000
"""Of the bootstrap; a thousandth of it is usual."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--samples", type=Path, required=True, help="JSON lines of `segcompass samples`; - for standard input")
    predictions = "JSON lines: sample_id, segmentation (RLE or null), no_target; - for standard input"
    parser.add_argument("--predictions", type=Path, required=True, help=predictions)
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS)
    parser.add_argument("--missing", choices=("refuse", "empty"), default="refuse", help="what an absent prediction is")
    add_whole_number(parser, "--bootstrap", 1, MOST_DRAWS, "draws of the intervals", default=1000, metavar="N")
    add_whole_number(parser, "--seed", 0, MOST_SEED, "of the draws", default=0, metavar="N")
    parser.add_argument("--json", action="store_true", help="full precision, as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Prints n and every metric with its 95 % interval."""
    columns = score_files(arguments.samples, arguments.predictions, arguments.protocol, arguments.missing == "empty")
    found: dict[str, dict[str, float | None]] = {}
    for name, (numerator, denominator) in metric_terms(columns, arguments.protocol).items():
        total = float(denominator.sum())
        value = float(numerator.sum()) / total if total else math.nan
        low, high = ratio_interval(numerator, denominator, columns["image"], arguments.bootstrap, 0.95, arguments.seed)
        found[name] = {"value": _known(value), "low": _known(low), "high": _known(high)}
    count = len(columns["iou"])
    if arguments.json:
        print(json.dumps({"protocol": arguments.protocol, "n": count, "metrics": found}))
        return 0
    print(f"protocol {arguments.protocol}, n = {count}, 95 % intervals by bootstrap over {columns['image'].max() + 1} images")
    for name, numbers in found.items():
        print(f"{name:<8}{_percent(numbers['value'])}  [{_percent(numbers['low'])}, {_percent(numbers['high'])}]")
    return 0


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _percent(value: Any) -> str:
    return "     –" if value is None else f"{100 * value:6.2f}"
