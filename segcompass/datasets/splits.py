"""The splits that each benchmark is evaluated on; every one of them has a `train` split beside these."""

EVALUATION_SPLITS = {
    "refcoco": ("val", "testA", "testB"),
    "refcoco+": ("val", "testA", "testB"),
    "refcocog": ("val", "test"),
    "grefcoco": ("val", "testA", "testB"),
    "reasonseg": ("val", "test"),
}
BENCHMARKS = tuple(EVALUATION_SPLITS)
