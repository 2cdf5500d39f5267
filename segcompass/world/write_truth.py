"""Writes what only a drawn world knows, beside the benchmarks' formats: complete scenes and gold thoughts, one JSON object a line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segcompass.datasets.masks import encode
from segcompass.world.instructions import Expression
from segcompass.world.scene import Scene
from segcompass.world.thoughts import caption


def gold_row(sample_id: str, image: str, text: str, benchmark: str, expression: Expression) -> dict[str, Any]:
    """A sample's gold thought and targets, as `supervision/<split>.jsonl` holds them."""
    return {
        "sample_id": sample_id,
        "image": image,
        "text": text,
        "thought": expression.thought,
        "benchmark": benchmark,
        "targets": list(expression.targets),
    }


def scene_row(scene: Scene, image: str) -> dict[str, Any]:
    """The complete truth of a scene, as `scenes/<split>.jsonl` holds it; `image` is its picture's path below the data root."""
    objects = [
        {
            "object_id": item.object_id,
            "shape": item.shape,
            "colour": item.colour,
            "size": item.size,
            "pattern": item.pattern,
            "row": round(item.row, 2),
            "column": round(item.column, 2),
            "place": scene.place(item),
            "visible": encode(mask),
        }
        for item, mask in zip(scene.objects, scene.visible, strict=True)
    ]
    size = {"height": scene.height, "width": scene.width}
    return {"scene_id": scene.scene_id, "image": image, **size, "objects": objects, "caption": caption(scene)}


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One row a line; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
