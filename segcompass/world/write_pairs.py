"""Writes counterfactual pairs: pictures, annotations in gRefCOCO's format, and which samples of the two pictures belong together.

Files are PNG, which keeps pictures equal to the pixel outside the edited object: JPEG would spread the edit over its blocks.
One folder an attribute keeps what is held at once small.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from segcompass.datasets.pairs import CounterfactualPair, Side, pair_row
from segcompass.datasets.splits import COUNTERFACTUALS
from segcompass.study.data import WorldSettings
from segcompass.world.counterfactual import ROWS, ScenePair, draw_pair, pictures, varied_attributes
from segcompass.world.scene import Scene
from segcompass.world.write_coco import Ref, image_path, sentence_ids, write_grefs, write_instances
from segcompass.world.write_truth import gold_row, scene_row

SUFFIX = ".png"


@dataclass
class WrittenPairs:
    """Rows of one attribute and split."""

    benchmark: str
    split: str
    scenes: list[dict[str, Any]] = field(default_factory=list)
    supervision: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)


def write_pairs(root: Path, settings: WorldSettings) -> Iterator[WrittenPairs]:
    """Fills `<benchmark>/` and the images of the data root, attribute by attribute; yields what is written beside the root."""
    wanted = settings.counterfactuals
    for attribute in varied_attributes(settings):
        benchmark = COUNTERFACTUALS[attribute]
        written = [WrittenPairs(benchmark, split) for split in wanted.splits]
        refs: list[Ref] = []
        scenes: list[Scene] = []
        for rows in written:
            for number in tqdm(range(wanted.pairs), desc=f"{benchmark}/{rows.split}", disable=None):
                pair = draw_pair(attribute, rows.split, number, settings)
                _write_pictures(root, pair, settings.seed)
                _add(rows, refs, pair, f"{attribute}_{rows.split}_{number}")
                scenes += pair.scenes
        write_instances([root / benchmark / "instances.json"], scenes, SUFFIX)
        write_grefs(root / benchmark / "grefs(unc).json", refs, SUFFIX)
        yield from written


def _write_pictures(root: Path, pair: ScenePair, seed: int) -> None:
    for scene, picture in zip(pair.scenes, pictures(pair, seed), strict=True):
        path = root / image_path(scene, SUFFIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, compress_type=zlib.Z_HUFFMAN_ONLY)  # noise has no repeats to look for


def _add(rows: WrittenPairs, refs: list[Ref], pair: ScenePair, name: str) -> None:
    """Appends the pair's refs, and the rows that name their samples."""
    ids: list[dict[str, str]] = []
    for scene, expressions in zip(pair.scenes, pair.expressions, strict=True):
        image = image_path(scene, SUFFIX)
        rows.scenes.append(scene_row(scene, image))
        ids.append({})
        for role, expression in expressions.items():
            (sent_id,) = sentence_ids(len(refs), len(expression.sentences))
            ids[-1][role] = f"{rows.benchmark}_unc_{rows.split}_s{sent_id}"
            rows.supervision.append(gold_row(ids[-1][role], image, expression.sentences[0], rows.benchmark, expression))
            refs.append((scene, rows.split, expression))
    for kind, *asked in ROWS:
        first, second = (
            Side(
                scene.scene_id,
                image_path(scene, SUFFIX),
                samples[role],
                expressions[role].targets,
                samples[expected],
                expressions[expected].targets,
            )
            for scene, expressions, samples, (role, expected) in zip(pair.scenes, pair.expressions, ids, asked, strict=True)
        )
        row = CounterfactualPair(name, rows.benchmark, pair.attribute, kind, pair.values, pair.edited, (first, second))
        rows.pairs.append(pair_row(row))
