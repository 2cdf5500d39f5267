"""Keys of the battery's half that takes codes from another sample."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from segcompass.study.data import DataSettings, WorldSettings
from segcompass.study.section import Section

Exchange = Literal["swap", "thought_swap", "paths"]
NEEDED_SPLITS = {"val", "test"}
"""Splits of counterfactual pairs: concepts are found on the first and tested on the second."""


class PairCounts(Section):
    """Pairs an attribute, the first ones of a split; all where there are fewer."""

    val: PositiveInt
    """On these an attribute's concepts are found, and their number chosen."""
    test: PositiveInt
    """On these they are exchanged."""


class ExchangeSettings(Section):
    """Exchanges of codes between samples, in frozen interfaces of the interface experiment."""

    variants: dict[Exchange, list[str]]
    """Intervention -> variants whose runs take part; a data root of photographs has no pairs, so `swap` is left out there."""
    pairs: PairCounts
    """Counterfactual pairs of `swap`."""
    examples: Annotated[int, Field(ge=0)]
    """Of `pairs.test`, of how many an attribute masks and concepts are kept for the report to show: the first ones, whatever they show."""
    concepts: list[PositiveInt]
    """k: how many concepts of an attribute are exchanged; of several the one with the best disentanglement on val is taken."""
    splits: dict[str, list[str]]
    """Of `thought_swap` and `paths`: benchmark -> its splits."""
    samples: PositiveInt
    """Of `thought_swap` and `paths`: expressions a split, spread over its images."""
    memory_mb: Annotated[int, Field(ge=1)]
    """Codes that are held in dense form at one time take no more than this; only dictionaries that are not sparse need any."""
    seed: Annotated[int, Field(ge=0)]
    """Of donors and of matched random concepts; every run draws the same donors."""


def has_pairs(data: DataSettings) -> bool:
    """Whether the data have counterfactual pairs of both splits."""
    if not isinstance(data, WorldSettings):
        return False
    return data.counterfactuals.pairs > 0 and set(data.counterfactuals.splits) >= NEEDED_SPLITS


def exchange_contradictions(settings: ExchangeSettings, readouts: Iterable[tuple[str, str]]) -> list[str]:
    """What an intervention cannot be asked of, as `key: what to do about it`.

    Args:
        settings: the section.
        readouts: (variant, what its interface reads).
    """
    found = []
    for variant, readout in readouts:
        if readout != "concepts" and variant in settings.variants.get("swap", []):
            found.append(f"analysis.exchange.variants.swap: `{variant}` reads no concepts, so there are none to exchange; leave it out")
        if readout == "references" and variant in settings.variants.get("thought_swap", []):
            found.append(f"analysis.exchange.variants.thought_swap: `{variant}` reads no token of a thought; leave it out")
    if not settings.concepts or len(set(settings.concepts)) != len(settings.concepts):
        found.append("analysis.exchange.concepts: list at least one number, each once")
    return found
