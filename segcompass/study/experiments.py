"""The two experiments of a study: which variants each has, by the keys that they change, and with which seeds.

Each experiment changes one thing. In the interface experiment the policy is frozen, so every variant reads the same answers, word for word;
in the training-signal experiment the interface begins alike, and what teaches the policy differs.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from segcompass.study.section import Section

Experiment = Literal["interface", "signals"]
EXPERIMENTS: tuple[Experiment, ...] = ("interface", "signals")
Run = tuple[str, str, int]
"""Experiment, variant, seed."""


class VariantSettings(Section):
    """One row of an experiment: which keys differ from its reference, and which seeds are trained."""

    seeds: list[Annotated[int, Field(ge=0)]]
    changes: dict[str, Any]
    """Dotted key of the experiment's section -> value; empty for the reference."""


class ExperimentSettings(Section):
    """Variants that differ from a reference in declared keys alone."""

    reference: str
    """The variant that every other one is compared with; it changes nothing."""
    variants: dict[str, VariantSettings]

    def runs(self) -> list[tuple[str, int]]:
        """Every (variant, seed), in the file's order."""
        return [(name, seed) for name, variant in self.variants.items() for seed in variant.seeds]


class ExperimentsSettings(Section):
    """Both experiments."""

    interface: ExperimentSettings
    """Variants of the section `interface`."""
    signals: ExperimentSettings
    """Variants of the section `joint`."""


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping in which each dotted key of `changes` has its new value.

    Raises:
        KeyError: with the dotted key, if it does not exist in `base`.
    """
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    for dotted, value in changes.items():
        head, _, rest = dotted.partition(".")
        if head not in result or (rest and not isinstance(result[head], dict)):
            raise KeyError(dotted)
        if rest:
            try:
                result[head] = changed(result[head], {rest: value})
            except KeyError:
                raise KeyError(dotted) from None
        else:
            result[head] = value
    return result
