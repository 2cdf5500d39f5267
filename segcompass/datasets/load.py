"""The door to the five benchmarks: `load_samples` gives the samples of a split, whatever its own format is."""

from collections.abc import Iterator
from pathlib import Path

from segcompass.datasets import grefcoco, reasonseg, refer
from segcompass.datasets.samples import Sample
from segcompass.datasets.splits import BENCHMARKS, COUNTERFACTUALS
from segcompass.errors import InputError


def load_samples(root: Path, benchmark: str, split: str, split_by: str | None = None, per_ref: bool = False) -> Iterator[Sample]:
    """Samples of a benchmark's split in the order of its files.

    Args:
        root: data root with the layouts of docs/data.md.
        benchmark: refcoco, refcoco+, refcocog, grefcoco, reasonseg, or one of `COUNTERFACTUALS`.
        split: a split of that benchmark.
        split_by: unc, google or umd for the refer family; None takes the usual one.
        per_ref: one sample a ref (its first sentence) instead of one a sentence.

    Raises:
        InputError: a file is missing or breaks its format.
        AbsentSplitError: the benchmark is there without this split.
    """
    if benchmark in refer.SPLIT_BY:
        return refer.samples(root, benchmark, split, split_by, per_ref)
    if benchmark == "grefcoco" or benchmark in COUNTERFACTUALS.values():
        return grefcoco.samples(root, benchmark, split, per_ref)
    if benchmark == "reasonseg":
        return reasonseg.samples(root, split)
    raise InputError(None, "--benchmark", f"`{benchmark}` is none of {', '.join((*BENCHMARKS, *COUNTERFACTUALS.values()))}")
