"""`segcompass compare-reports`: which numbers of two reports agree within their intervals."""

import argparse
from collections import Counter
from pathlib import Path

from segcompass.reporting.agreement import LEVEL, Estimate, compared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("first", type=Path, metavar="A", help="a report's folder, with its numbers.json")
    parser.add_argument("second", type=Path, metavar="B", help="another one, of the same study")
    text = "only numbers whose keys, joined by `/`, match such a pattern: 'comparisons/*', '*/gIoU'"
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help=text)
    parser.add_argument("--all", action="store_true", help="print every number, not only those that do not agree")


def run(arguments: argparse.Namespace) -> int:
    """Prints a line a section, then the numbers that do not agree, the worst first.

    Returns:
        0 if all agree, 1 if some do not.
    """
    pairs = compared(arguments.first, arguments.second, arguments.only)
    shown = [pair for pair in pairs if arguments.all or not pair.agrees]
    total, apart = (Counter(pair.path.partition("/")[0] for pair in chosen) for chosen in (pairs, [p for p in pairs if not p.agrees]))
    print(f"{len(pairs)} numbers, {100 * LEVEL:g} % intervals widened {pairs[0].widening:.2f} times because so many are compared")
    width = max(map(len, total))
    for section, count in total.items():
        print(f"{section:<{width}}  {count - apart[section]:>5} of {count} agree")
    if shown:
        print("\nnumber: A [interval], B [interval], distance / what chance allows")
    for pair in shown:
        print(f"{pair.path}: {_text(pair.first)}, {_text(pair.second)}, {pair.apart:.2f}")
    return 0 if not apart else 1


def _text(estimate: Estimate) -> str:
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"
