"""The strip of counterfactual pairs: what an exchange made of the masks of some pairs, beside the pictures and words that they are of.

Which pairs stand there follows from their order in the file alone (segcompass/causal/examples.py).
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from segcompass.causal.examples import ARMS, SwapExample
from segcompass.causal.overlap import iou
from segcompass.datasets.artefact import gold_thoughts, manifest, sample_image
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import read_samples
from segcompass.explain.names import ConceptNames
from segcompass.reporting.figures.pairs import Outcome, Pair, Side


def shown_pairs(data: Path, examples: Sequence[SwapExample], names: ConceptNames) -> list[Pair]:
    """What a figure shows of each example.

    Args:
        data: artefact of `prepare_data`.
        examples: of one run.
        names: of its dictionary's concepts.
    """
    found = []
    for one in examples:
        samples = {sample.sample_id: sample for sample in read_samples(manifest(data, one.benchmark, one.split))}
        thoughts = gold_thoughts(data, f"counterfactual_{one.split}")
        own, expected = (decode(samples[name].target) for name in (one.edited, one.expected))
        edited, giving = (Side(sample_image(data, samples[name]), samples[name].text, thoughts[name]) for name in (one.edited, one.giving))
        outcomes = []
        for arm in ("", *ARMS):
            mask = decode(one.after[arm] if arm else one.before)
            named = ((concept, names.of(concept).called) for concept in one.concepts.get(arm, []))
            concepts = [f"{concept} ‘{name}’" if name else str(concept) for concept, name in named]
            outcomes.append(Outcome(mask, iou(mask, own), iou(mask, expected), concepts))
        found.append(Pair(one.attribute, one.values, edited, giving, expected, *outcomes))
    return found


def pair_rows(examples: Sequence[SwapExample], pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row an example and mask: whose it is, how well it fits either target, and the concepts that were exchanged."""
    rows = []
    for one, pair in zip(examples, pairs, strict=True):
        of_pair = {"pair": one.pair, "attribute": one.attribute, "edited": one.edited, "giving": one.giving, "expected": one.expected}
        for mask, outcome in zip(("before", *ARMS), (pair.before, pair.exchanged, pair.control), strict=True):
            fit = {"iou_own": outcome.iou_own, "iou_expected": outcome.iou_expected}
            rows.append(of_pair | {"mask": mask} | fit | {"concepts": ", ".join(outcome.concepts)})
    return pd.DataFrame(rows)
