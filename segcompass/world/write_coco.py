"""Writes scenes and expressions as RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: COCO instances, refer pickles, grefs.

The quirks of the originals are written too, so that the loaders meet them: `_N` suffixes in a ref's `file_name`, several polygons for
objects in pieces, a polygon of fewer than 6 numbers, `iscrowd` annotations in RLE that no ref may count as target.
"""

import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from segcompass.datasets.masks import encode
from segcompass.datasets.refer import IMAGES
from segcompass.world.instructions import Expression
from segcompass.world.lexicon import SHAPES
from segcompass.world.outline import polygons
from segcompass.world.scene import Scene, SceneObject

Ref = tuple[Scene, str, Expression]
"""A scene, the benchmark's split and an expression of the scene."""
CATEGORY = {shape: index + 1 for index, shape in enumerate(SHAPES)}
CROWD_CATEGORY = len(SHAPES) + 1
JPEG = ".jpg"
"""Suffix of the benchmarks' images."""


def image_name(scene: Scene, suffix: str = JPEG) -> str:
    """The file name of a scene's image; its number is the image id."""
    return f"COCO_train2014_{scene.scene_id:012d}{suffix}"


def image_path(scene: Scene, suffix: str = JPEG) -> str:
    """Path of a scene's image below the data root."""
    return f"{IMAGES}/{image_name(scene, suffix)}"


def annotation_id(scene: Scene, object_id: int) -> int:
    """Id of an object's annotation."""
    return scene.scene_id * 100 + object_id


def segmentation(mask: np.ndarray) -> list[list[float]]:
    """Polygons along pixel edges that give the mask back exactly, and one of fewer than 6 numbers, as some originals have."""
    return [*([float(value) for value in polygon] for polygon in polygons(mask)), [1.0, 1.0, 2.0, 2.0]]


def write_instances(paths: Iterable[Path], scenes: Iterable[Scene], suffix: str = JPEG) -> None:
    """`instances.json` of the scenes, attributes of every object included; the same content at every path."""
    images, annotations = [], []
    for scene in scenes:
        images.append(
            {"id": scene.scene_id, "file_name": image_name(scene, suffix), "height": scene.height, "width": scene.width, "license": 1}
        )
        annotations += [_annotation(scene, item, mask) for item, mask in zip(scene.objects, scene.visible, strict=True)]
        annotations.append(_crowd(scene))
    categories = [{"id": number, "name": name, "supercategory": "shape"} for name, number in CATEGORY.items()]
    categories.append({"id": CROWD_CATEGORY, "name": "scene", "supercategory": "crowd"})
    content = {
        "info": {"description": "shapescenes"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    data = json.dumps(content).encode()
    for path in paths:
        _write(path, data)


def write_refs(path: Path, refs: list[Ref]) -> None:
    """A refer pickle in protocol 2, single target per ref."""
    _write(path, pickle.dumps([_ref(number, *ref, JPEG) for number, ref in enumerate(refs)], protocol=2))


def write_grefs(path: Path, refs: list[Ref], suffix: str = JPEG) -> None:
    """`grefs(unc).json`: lists of annotation and category ids, [-1] for no target."""
    entries = []
    for number, (scene, split, expression) in enumerate(refs):
        entry = _ref(number, scene, split, expression, suffix)
        none = not expression.targets
        entry["ann_id"] = [-1] if none else [annotation_id(scene, target) for target in expression.targets]
        entry["category_id"] = [-1] if none else [CATEGORY[scene.objects[target].shape] for target in expression.targets]
        entries.append(entry | {"no_target": none})
    _write(path, json.dumps(entries).encode())


def sentence_ids(number: int, count: int) -> list[int]:
    """Sentence ids of the `number`-th ref of a file; at most ten sentences a ref."""
    return [10 * number + index for index in range(count)]


def _ref(number: int, scene: Scene, split: str, expression: Expression, suffix: str) -> dict[str, Any]:
    ids = sentence_ids(number, len(expression.sentences))
    sentences = [
        {"sent_id": sent_id, "sent": text, "raw": text, "tokens": text.split()}
        for sent_id, text in zip(ids, expression.sentences, strict=True)
    ]
    target = expression.targets[0] if expression.targets else -1
    return {
        "ref_id": number,
        "ann_id": annotation_id(scene, target),
        "image_id": scene.scene_id,
        "file_name": image_name(scene, f"_{max(target, 0)}{suffix}"),
        "category_id": CATEGORY[scene.objects[target].shape],
        "split": split,
        "sent_ids": ids,
        "sentences": sentences,
    }


def _annotation(scene: Scene, item: SceneObject, mask: np.ndarray) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    return {
        "id": annotation_id(scene, item.object_id),
        "image_id": scene.scene_id,
        "category_id": CATEGORY[item.shape],
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": [float(value) for value in box],
        "segmentation": segmentation(mask),
        "attributes": {"shape": item.shape, "colour": item.colour, "size": item.size, "pattern": item.pattern, "place": scene.place(item)},
    }


def _crowd(scene: Scene) -> dict[str, Any]:
    everything = np.asarray(scene.visible.any(axis=0))
    return {
        "id": annotation_id(scene, 99),
        "image_id": scene.scene_id,
        "category_id": CROWD_CATEGORY,
        "iscrowd": 1,
        "area": int(everything.sum()),
        "bbox": [0.0, 0.0, float(scene.width), float(scene.height)],
        "segmentation": encode(everything),
    }


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
