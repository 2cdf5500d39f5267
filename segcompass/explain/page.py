"""An explanation as one HTML page: nothing is fetched, no script runs, and every text is escaped and kept in its own direction."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

from segcompass.backbone.interface import Image
from segcompass.explain.explanation import Carrying, Explanation, Slot
from segcompass.explain.names import ConceptNames
from segcompass.explain.picture import effect_overlay, patch_overlay, png, slot_pictures

TEMPLATE = Path(__file__).with_name("page.html.j2")
PATH_NAMES = {"visual": "visual codes", "instruction": "instruction codes", "thought": "thought codes", "reference": "reference state r_k"}


def page(found: Explanation, names: ConceptNames, run: str) -> str:
    """The page.

    Args:
        found: the explanation.
        names: of its concepts.
        run: which run it is of.
    """
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        answer=found.answer,
        run=run,
        slots=[_slot(found, slot, names) for slot in found.slots],
        traced=found.traced,
        errors=found.errors(),
        score=found.score,
        donors=found.donors,
        names_of_paths=PATH_NAMES,
    )


def _slot(found: Explanation, slot: Slot, names: ConceptNames) -> dict[str, Any]:
    strongest = max((float(np.abs(one.effect).max()) for one in slot.carrying), default=1.0)
    pictures = [(title, _source(picture)) for title, picture in slot_pictures(found, slot)]
    return {"found": slot, "pictures": pictures, "concepts": [_concept(found, one, names, strongest) for one in slot.carrying]}


def _concept(found: Explanation, one: Carrying, names: ConceptNames, strongest: float) -> dict[str, Any]:
    image, greatest = found.answer.image, max(map(abs, one.words), default=0.0) or 1.0
    patches = patch_overlay(image, found.answer.thoughts.boxes[0], one.patches) if one.patches.any() else None
    return {
        "found": one,
        "name": names.of(one.concept),
        "effect": _source(effect_overlay(image, one.effect, strongest)),
        "patches": _source(patches) if patches is not None else "",
        "words": [(text, abs(code) / greatest) for (text, _), code in zip(found.words, one.words, strict=True)],
    }


def _source(picture: Image) -> str:
    return f"data:image/png;base64,{b64encode(png(picture)).decode()}"
