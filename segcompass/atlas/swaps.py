"""Exchanges between counterfactual pairs, to be looked at: what an attribute's concepts, and their control's, make of a mask.

They are those that stage `exchange` has kept of the run that is shown: the first pairs of each attribute in the order of their file, so
that nothing is chosen by what came out, and failures stand there too (`segcompass/causal/examples.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segcompass.atlas.pictures import mask_uri
from segcompass.atlas.samples import MASK, TARGET
from segcompass.causal.examples import SwapExample, read_examples
from segcompass.causal.overlap import iou
from segcompass.datasets.artefact import manifest
from segcompass.datasets.images import Size
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import read_samples
from segcompass.provenance.stage import read_run


def swap_views(folders: Sequence[Path], variant: str, seed: int, data: Path) -> tuple[list[dict[str, Any]], dict[str, Size]]:
    """What is shown of each pair, and the sizes of their pictures; none where the run has exchanged nothing between pairs.

    Args:
        folders: artefacts of `intervene` and `exchange`, of any runs.
        variant: of the run.
        seed: of the run.
        data: artefact of `prepare_data`.

    Raises:
        InputError: the examples, or the samples that they name, are damaged.
    """
    own = [folder for folder in folders if read_run(folder)["wildcards"] == {"variant": variant, "seed": str(seed)}]
    sizes: dict[str, Size] = {}
    return [_view(one, data, sizes) for folder in own for one in read_examples(folder)[0]], sizes


def _view(one: SwapExample, data: Path, sizes: dict[str, Size]) -> dict[str, Any]:
    samples = {sample.sample_id: sample for sample in read_samples(manifest(data, one.benchmark, one.split))}
    edited, giving, expected = (samples[name] for name in (one.edited, one.giving, one.expected))
    sizes |= {sample.image: (sample.height, sample.width) for sample in (edited, giving)}
    own, other = decode(edited.target), decode(expected.target)
    masks = {"before": one.before} | one.after
    return {
        "attribute": one.attribute,
        "values": list(one.values),
        "paths": [edited.image, giving.image],
        "texts": [edited.text, giving.text],
        "expected": mask_uri(other, TARGET),
        "masks": {name: mask_uri(decode(mask), MASK) for name, mask in masks.items()},
        "ious": {name: [iou(decode(mask), own), iou(decode(mask), other)] for name, mask in masks.items()},
        "concepts": one.concepts["attribute"],
    }
