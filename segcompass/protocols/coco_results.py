"""A split and its predictions as COCO files, which `pycocotools.COCO.loadRes` accepts; one "image" an expression."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as coco

from segcompass.datasets.masks import Rle
from segcompass.datasets.samples import Sample

CATEGORY = {"id": 1, "name": "target"}


def write_truth(samples: Sequence[Sample], path: Path) -> None:
    """Writes images (id = place in the manifest) and one annotation a sample that has a target."""
    images, annotations = [], []
    for number, sample in enumerate(samples):
        images.append(
            {"id": number, "file_name": sample.image, "height": sample.height, "width": sample.width, "sample_id": sample.sample_id}
        )
        if not sample.no_target:
            annotations.append({"id": number + 1, "image_id": number, "iscrowd": 0} | _region(sample.target))
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [CATEGORY]}), encoding="utf-8")


def write_predictions(samples: Sequence[Sample], masks: Sequence[Rle], scores: Sequence[float], path: Path) -> None:
    """Writes one result a sample: the predicted union and the greatest confidence; empty masks are kept."""
    rows = zip(samples, masks, scores, strict=True)
    results = [{"image_id": i, "sample_id": s.sample_id, "score": score} | _region(mask) for i, (s, mask, score) in enumerate(rows)]
    path.write_text(json.dumps(results), encoding="utf-8")


def _region(mask: Rle) -> dict[str, Any]:
    bbox = [float(value) for value in coco.toBbox(mask)]
    return {"category_id": CATEGORY["id"], "segmentation": mask, "area": int(coco.area(mask)), "bbox": bbox}
