"""`metrics.json`: the few numbers of a study that a reader compares first, taken out of `numbers.json` for `dvc metrics`."""

from typing import Any

from segcompass.protocols.scoring import HEADLINE

REFERENCES = ("reference", "full")
"""The variants that the others of the two experiments are compared with."""
QUALITY = "heat_iou / iou"
"""The pair of concept quality and accuracy that the report draws."""
REMOVED = "top removed"


def headline(numbers: dict[str, Any]) -> dict[str, Any]:
    """Of the reference variants: gIoU of every split, thought accuracy, how quality and accuracy go together, what is left of scores
    without the strongest concepts; and every difference of a family of tests.

    Args:
        numbers: as `study_numbers` returns them; what a study does not measure is left out.
    """
    found: dict[str, Any] = {}
    for variant in REFERENCES:
        own: dict[str, Any] = {}
        for name in ("gIoU", "thought accuracy"):
            own[name] = {
                f"{benchmark} {split}": protocols[HEADLINE[benchmark]][name]["mean"]
                for benchmark, splits in numbers["metrics"].get(variant, {}).items()
                for split, protocols in splits.items()
                if name in protocols[HEADLINE[benchmark]]
            }
        pairs = numbers["correlation"].get(variant, {}).get("all", {})
        own["correlation"] = {key: pairs[QUALITY][key] for key in ("spearman", "partial", "null_mean")} if QUALITY in pairs else {}
        own["left without the strongest concepts"] = {
            f"{benchmark} {ablation}": by_fraction[max(by_fraction, key=float)]["f"]
            for benchmark, ablations in numbers["curves"].get(variant, {}).items()
            for ablation, edits in ablations.items()
            for by_fraction in [edits[REMOVED]]
        }
        found[variant] = {name: values for name, values in own.items() if values}
    found["differences"] = {test: row["difference"]["mean"] for test, row in numbers.get("comparisons", {}).get("families", {}).items()}
    return {name: values for name, values in found.items() if values}
