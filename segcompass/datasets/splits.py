"""The splits that each benchmark is evaluated on; every one of them has a `train` split beside these.

A data root may lack some of them: an absent split is no fault of the files that are there.
"""

from segcompass.errors import InputError


class AbsentSplitError(InputError):
    """A benchmark is there, but not this split of it."""


EVALUATION_SPLITS = {
    "refcoco": ("val", "testA", "testB"),
    "refcoco+": ("val", "testA", "testB"),
    "refcocog": ("val", "test"),
    "grefcoco": ("val", "testA", "testB"),
    "reasonseg": ("val", "test"),
}
BENCHMARKS = tuple(EVALUATION_SPLITS)

COUNTERFACTUALS = {attribute: f"counterfactual_{attribute}" for attribute in ("colour", "shape", "size", "pattern", "place")}
"""Attribute -> the folder of its counterfactual pairs, in gRefCOCO's format, splits val and test; the embedded world alone has them."""
