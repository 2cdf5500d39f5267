"""`segcompass check`: for each benchmark of a data root, what is there against what should be."""

import argparse
import hashlib
from pathlib import Path

import pandas as pd

from segcompass.datasets.inventory import BENCHMARK_FILES, Finding, inspect
from segcompass.errors import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("data_root", type=Path, metavar="DATA_ROOT", help="folder with the layout of docs/data.md")
    parser.add_argument("--deep", action="store_true", help="decode every image; without it, only the files' headers are read")


def run(arguments: argparse.Namespace) -> int:
    """Prints a table of splits, the annotation files with their hashes, and every oddity.

    Returns:
        0 if at least one benchmark is there and every one that is there can be used, else 1.
    """
    findings = inspect(arguments.data_root, arguments.deep)
    if not findings:
        print(f"{shown(str(arguments.data_root))}: none of {', '.join(BENCHMARK_FILES)} is there; see docs/data.md for the layout.")
        return 1
    rows = [
        {
            "benchmark": finding.benchmark,
            "split": finding.split,
            "expressions": finding.expressions,
            "images": finding.images,
            "missing images": finding.missing_images,
            "originals have": finding.expected or "",
            "usable": "yes" if finding.usable else "no",
        }
        for finding in findings
    ]
    print(pd.DataFrame(rows).to_markdown(index=False))
    print("\nAnnotation files (SHA-256):")
    for file in _annotation_files(arguments.data_root, findings):
        print(f"  {hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(arguments.data_root)}")
    remarks = [f"  {finding.benchmark} {finding.split}: {remark}" for finding in findings for remark in finding.remarks]
    if remarks:
        print("\nRemarks:\n" + "\n".join(remarks))
    return 0 if all(finding.usable for finding in findings) else 1


def _annotation_files(root: Path, findings: list[Finding]) -> list[Path]:
    names = dict.fromkeys(name for finding in findings for name in BENCHMARK_FILES[finding.benchmark])
    return [root / name for name in names if (root / name).is_file()]
