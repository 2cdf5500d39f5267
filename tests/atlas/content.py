"""A hand-made content of a page, of two concepts and one sample, with texts that try to be markup."""

from typing import Any

import numpy as np

from segcompass.atlas.pictures import heat_map_uri, mask_uri, picture_uri

SCRIPT = "</script><script>window.broken=1</script><img src=x onerror=window.broken=2>"
QUOTES = "\"'`&lt;&amp;"
RIGHT_TO_LEFT = "left \u202eright\u202c \u200f\u05d0\u05d1"
LONG = "x" * 10_000
INSTRUCTION = f"{SCRIPT} {QUOTES} {RIGHT_TO_LEFT} {LONG}"


def effect(fall: float) -> dict[str, Any]:
    found: dict[str, Any] = {"samples": 9, "images": 9}
    means = {"fall": fall, "change": 0.2, "fall_visual": 0, "fall_instruction": 0.1, "fall_thought": 0.3, "dose_2": 0.4}
    return found | {name: [value, value - 0.1, value + 0.1] for name, value in means.items()}


def concept(number: int, value: str, word: str, fall: float | None) -> dict[str, Any]:
    purity = {"attribute": "colour", "value": value, "auroc": 0.9, "shuffled": 0.5, "untrained": 0.6, "untrained_concept": 3}
    return {
        "id": number,
        "density": dict.fromkeys(("all", "visual", "instance", "background", "instruction", "thought"), 0.1 + number / 100),
        "mono": float("nan"),
        "best": ["colour", value, 0.9] if value else None,
        "xy": [number, -number],
        "max": 2.0,
        "histogram": [3, 0, 1],
        "purity": [purity] if value else [],
        "words": [[word, 1.5, 0.5, 4]],
        "top": [[0, 8, 8, 16, 16, 2.0, 1.0, value]],
        "drawn": [[0, 0, 0, 8, 8, 0.5, 0.25, value]],
        "silent": [[0, 16, 16, 24, 24, 0.0, 0.0, value]],
        "near": [[12 if number == 7 else 7, 0.3]],
        "match": [[0, 4, 0.8]],
        "contribution": 0.25,
        "effect": None if fall is None else effect(fall),
    }


def content(attributes: bool = True) -> dict[str, Any]:
    picture = np.random.default_rng(0).integers(0, 255, (32, 24, 3)).astype(np.uint8)
    mask = np.zeros((32, 24), bool)
    mask[4:9, 4:9] = True
    uri = mask_uri(mask, (255, 0, 0, 128))
    carrier = {"concept": 12, "contribution": 0.5, "fall": 0.4, "change": 0.01, "after": uri}
    slot = {"slot": 0, "confidence": 0.9, "leads": True, "heat": heat_map_uri(np.zeros((8, 6))), "mask": uri, "carriers": [carrier]}
    slot["together"] = [{"removed": 64, "fall": 2.5, "iou": 0.25, "after": uri}]
    sample = {
        "sample": SCRIPT,
        "benchmark": "refcoco",
        "split": "testA",
        "path": "a.jpg",
        "picture": 0,
        "size": [32, 24],
        "text": INSTRUCTION,
        "status": "ok",
        "iou": 0.5,
        "target": uri,
        "mask": uri,
        "slots": [slot, slot | {"slot": 1, "leads": False, "carriers": [], "together": []}],
        "words": [["USER:", "prompt"], [" " + SCRIPT, "thought"], [" red", "thought"]],
        "boxes": [[0, 0, 8, 8], [8, 0, 16, 8]],
        "in_words": {12: [2, 0.7]},
        "in_patches": {12: [1, 0.3]},
    }
    swap = {"intervention": "swap", "arm": "attribute", "at": "colour", "measure": "cause", "mean": 0.75, "low": 0.5, "high": 0.875}
    swap |= {"samples": 8, "images": 8}
    exchange = {"attribute": "colour", "values": ["red", SCRIPT], "pictures": [0, 0], "texts": [INSTRUCTION, SCRIPT], "expected": uri}
    exchange |= {"masks": dict.fromkeys(("before", "attribute", "matched"), uri), "concepts": [12, *range(20, 30)]}
    exchange |= {"ious": {"before": [0.9, 0.0], "attribute": [0.1, 0.8], "matched": [0.7, 0.0]}}
    return {
        "study": "tiny",
        "sae": "topk",
        "run": {"variant": "reference", "seed": 0},
        "level": 0.95,
        "rule": "The first sample.",
        "attributes": {"colour": ["red", SCRIPT]} if attributes else {},
        "axes": [0.5, 0.25],
        "dictionaries": [{"name": "random", "kind": "untrained"}],
        "width": 16,
        "silent": 13,
        "left_out": 1,
        "concepts": [concept(7, SCRIPT if attributes else "", SCRIPT, None), concept(12, "red" if attributes else "", "red", 0.4)],
        "pictures": [{"name": "a.jpg", "size": [32, 24], "uri": picture_uri(picture, 32)}],
        "battery": [swap] if attributes else [],
        "samples": [sample],
        "swaps": [exchange] if attributes else [],
        "effects": {"samples": 8, "concepts": 64, "doses": [2.0]},
    }
