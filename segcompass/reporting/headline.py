"""`metrics.json`: the few numbers of a study that a reader compares first, taken out of `numbers.json` for `dvc metrics`."""

from typing import Any

from segcompass.protocols.scoring import HEADLINE

REFERENCE = "full"
QUALITY = "heat_iou / iou"
"""The pair of concept quality and accuracy that the report draws."""
EFFECT = "target_iou_change"
CONTRAST = "top-random"


def headline(numbers: dict[str, Any]) -> dict[str, Any]:
    """Of the reference variant: gIoU of every split, thought accuracy, how quality and accuracy go together, what top concepts cause.

    Args:
        numbers: as `study_numbers` returns them; what a study does not measure is left out.
    """
    metrics = numbers["metrics"].get(REFERENCE, {})
    found: dict[str, Any] = {}
    for name in ("gIoU", "thought accuracy"):
        found[name] = {
            f"{benchmark} {split}": protocols[HEADLINE[benchmark]][name]["mean"]
            for benchmark, splits in metrics.items()
            for split, protocols in splits.items()
            if name in protocols[HEADLINE[benchmark]]
        }
    found["correlation"] = {
        seed: {key: pairs["all"][QUALITY][key] for key in ("spearman", "partial", "null_mean")}
        for seed, pairs in numbers["correlation"].get(REFERENCE, {}).items()
        if QUALITY in pairs.get("all", {})
    }
    found["necessity"] = {
        f"{benchmark} {split} {seed}": strongest[CONTRAST][EFFECT]["mean"]
        for seed, benchmarks in numbers["necessity"].get(REFERENCE, {}).items()
        for benchmark, splits in benchmarks.items()
        for split, by_m in splits.items()
        if CONTRAST in (strongest := by_m[max(by_m, key=lambda m: int(m.removeprefix("m")))])
    }
    return {name: values for name, values in found.items() if values}
