"""What reports say of a study's experiments: settings in full, and which variants are the controls."""

from typing import Any

from segcompass.study.concepts import RandomDictionary
from segcompass.study.experiments import EXPERIMENTS
from segcompass.study.study import Study


def described_experiments(study: Study) -> dict[str, dict[str, Any]]:
    """What a report says of each experiment: its reference, and every variant's settings in full."""
    settings: dict[str, Any] = {"interface": study.interface_variant, "signals": study.joint_variant}
    return {
        name: {
            "reference": study.experiment(name).reference,
            "variants": {variant: settings[name](variant).model_dump(mode="json") for variant in study.experiment(name).variants},
        }
        for name in EXPERIMENTS
    }


def control_variants(study: Study) -> dict[str, str]:
    """`untrained` and `frozen` -> the first variant that differs from its reference by such a dictionary alone, where there is one."""
    found: dict[str, str] = {}
    for name, variant in study.experiments.interface.variants.items():
        dictionary = study.saes.get(str(variant.changes.get("model.sae")))
        if len(variant.changes) == 1 and isinstance(dictionary, RandomDictionary):
            found.setdefault("untrained", name)
        elif len(variant.changes) == 1 and getattr(dictionary, "decoder", None) == "frozen":
            found.setdefault("frozen", name)
    return found
