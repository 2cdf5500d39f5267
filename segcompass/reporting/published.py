"""Numbers that the paper and its rivals published (paper section 4): another world, other data, for orientation only.

A number that is not known is absent, never filled in.
"""

Cell = tuple[str, str, str]
"""Benchmark, split, metric."""


def _row(benchmark_splits: tuple[tuple[str, str], ...], metric: str, values: str) -> dict[Cell, float]:
    pairs = zip(benchmark_splits, values.split(), strict=True)
    return {(benchmark, split, metric): float(value) for (benchmark, split), value in pairs if value != "?"}


_TABLE_1 = tuple(
    (benchmark, split)
    for benchmark, splits in (("refcoco", "val testA testB"), ("refcoco+", "val testA testB"), ("refcocog", "val test"))
    for split in splits.split()
)
_ABLATION = (("refcocog", "test"), ("grefcoco", "testA"), ("reasonseg", "test"))

TABLE_1 = {
    "LISA-7B (fine-tuned)": _row(_TABLE_1, "cIoU", "74.9 79.1 72.3 65.1 70.8 58.1 67.9 70.6"),
    "SegCompass LLaVA-7B": _row(_TABLE_1, "cIoU", "80.0 82.9 ? 77.2 ? ? 79.4 ?"),
    "SegCompass Qwen-7B": _row(_TABLE_1, "cIoU", "85.3 87.5 ? 78.3 ? ? 82.8 ?"),
    "SegCompass LLaVA-13B": _row(_TABLE_1, "cIoU", "86.3 87.3 84.1 80.5 84.6 76.9 84.0 81.3"),
}
TABLES_2_3 = {
    name: _row((("grefcoco", "val"),), "gIoU", values[0])
    | _row((("grefcoco", "val"), ("grefcoco", "testA")), "cIoU", values[1])
    | _row((("reasonseg", "val"), ("reasonseg", "test")), "gIoU", values[2])
    | _row((("reasonseg", "val"), ("reasonseg", "test")), "cIoU", values[3])
    for name, values in {
        "LISA-7B": ("61.6", "61.7 68.5", "53.6 ?", "52.3 48.8"),
        "Seg-Zero-7B": ("?", "? ?", "62.6 57.5", "62.0 52.0"),
        "SegCompass Qwen-7B": ("76.1", "72.2 76.5", "66.6 64.0", "66.3 64.8"),
        "SegCompass LLaVA-13B": ("76.8", "72.2 77.3", "67.4 64.2", "67.2 66.5"),
    }.items()
}
TABLE_4 = {
    "RL only (13B)": _row(_ABLATION, "cIoU", "65.9 63.0 40.1"),
    "segmentation only (13B)": _row(_ABLATION, "cIoU", "77.9 74.0 59.3"),
    "both (13B)": _row(_ABLATION, "cIoU", "81.3 77.3 66.5"),
}
TABLE_5 = {
    "SAM ViT-B (13B)": _row(_ABLATION, "cIoU", "78.8 75.0 58.8"),
    "SAM ViT-L (13B)": _row(_ABLATION, "cIoU", "80.1 76.2 63.9"),
    "SAM ViT-H (13B)": _row(_ABLATION, "cIoU", "81.3 77.3 66.5"),
}
TABLE_6 = {
    "format 0 : mask 1 (13B)": _row(_ABLATION, "cIoU", "79.1 75.0 63.9"),
    "format 0.5 : mask 0.5 (13B)": _row(_ABLATION, "cIoU", "81.0 76.8 66.2"),
    "format 0.3 : mask 0.7 (13B)": _row(_ABLATION, "cIoU", "81.3 77.3 66.5"),
}
FIGURE_6 = {
    "G = 2 (13B)": _row(_ABLATION, "cIoU", "76.9 72.6 61.9"),
    "G = 4 (13B)": _row(_ABLATION, "cIoU", "79.2 75.0 64.0"),
    "G = 6 (13B)": _row(_ABLATION, "cIoU", "80.4 76.8 65.1"),
    "G = 8 (13B)": _row(_ABLATION, "cIoU", "81.3 77.3 66.5"),
}
FIGURE_8 = {("heat_iou", "iou"): 0.69, ("sae_mse", "dice_loss"): 0.68}
"""R of the paper's fits over gRefCOCO with Qwen-7B: heat-map cIoU against mask cIoU, reconstruction error against Dice loss."""
