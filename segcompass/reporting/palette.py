"""One colour a variant in every figure: references black and grey, and the variants that share a question near one another in hue.

Hues are those of Okabe and Ito (2008), which most eyes tell apart, in light and dark where there are more variants than hues.
"""

from collections.abc import Iterable

REFERENCE = "#000000"
OTHERS = "#b5b5b5"
"""Whatever stands behind the variant that a panel is about."""
COLOURS = {
    "reference": REFERENCE,
    "full": REFERENCE,
    "untrained": "#8c8c8c",
    "null_reference": "#8c8c8c",
    "null_dense": "#b5b5b5",
    "random_reward": "#8c8c8c",
    # dictionaries
    "topk": "#0072b2",
    "dense": "#d55e00",
    "joint_dense": "#d55e00",
    "random_sae": "#cc79a7",
    "frozen_decoder": "#56b4e9",
    "soft_frozen_decoder": "#2a7fb8",
    # roads into the interface
    "sae_only": "#009e73",
    "ref_only": "#e69f00",
    "joint_ref_only": "#e69f00",
    "text_readout": "#c4a000",
    # what teaches
    "seg_only": "#009e73",
    "rl_only": "#d55e00",
}
MORE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c00", "#5c2d91")
"""For variants without a colour of their own, by turns."""
OUTCOMES = {"supported": "#009e73", "refuted": "#d55e00", "undecided": "#8c8c8c", "invalid": "#cc79a7"}
"""Verdict -> its colour."""


def colours(variants: Iterable[str]) -> dict[str, str]:
    """The colour of each variant; it depends on the name and, for names without one of their own, on their order."""
    named = list(dict.fromkeys(variants))
    unnamed = [name for name in named if name not in COLOURS]
    return {name: COLOURS.get(name) or MORE[unnamed.index(name) % len(MORE)] for name in named}
