"""Explanations and edits as JSON (docs/explain.md lists every field)."""

import math
from dataclasses import asdict
from typing import Any

from segcompass.datasets.masks import encode
from segcompass.explain.edit import EditedCodes, Outcome
from segcompass.explain.explanation import STEPS, Carrying, Explanation, Slot
from segcompass.explain.names import ConceptNames

FORMAT = 1
"""Version of the schema; a change that breaks readers raises it."""


def explanation_json(found: Explanation, names: ConceptNames, run: dict[str, Any]) -> dict[str, Any]:
    """An explanation; `run` says which run it is of."""
    answer = found.answer
    return {
        "format": FORMAT,
        "run": run,
        "instruction": answer.instruction,
        "unknown_words": list(answer.reading.unknown),
        "answer": answer.text,
        "thought": answer.thought,
        "status": answer.prediction.status,
        "no_target": answer.prediction.no_target,
        "segmentation": encode(answer.prediction.mask),
        "confidences": [float(value) for value in answer.prediction.confidences],
        "words": [{"text": text, "token_type": kind} for text, kind in found.words],
        "slots": [_slot(slot, names) for slot in found.slots],
        "traceability": {
            "score": found.score,
            "steps": STEPS,
            "removed": [asdict(one) for one in found.traced],
            "errors": {name: _number(value) for name, value in found.errors().items()},
        },
        "donors": [{"image": donor.name, "instruction": donor.instruction} for donor in found.donors],
    }


def edit_json(outcome: Outcome, codes: EditedCodes | None, names: ConceptNames, asked: dict[str, Any]) -> dict[str, Any]:
    """An edit; `asked` says of which answer, and what was asked for."""
    changed = codes.changed() if codes else []
    return {
        "format": FORMAT,
        **asked,
        "slots": outcome.slots,
        "changed": [{"concept": concept, "name": names.of(concept).title, "change": sums} for concept, sums in changed],
        "segmentation_before": encode(outcome.mask_before),
        "segmentation_after": encode(outcome.mask_after),
        "iou": outcome.iou,
        "score": outcome.score,
        "observed": outcome.observed,
        "predicted": outcome.predicted,
        "observed_mask": outcome.observed_mask,
        "predicted_mask": outcome.predicted_mask,
        "confidences_after": outcome.confidences_after,
        "slots_after": list(outcome.slots_after),
        "sham": {"changed_mask_logits": outcome.sham[0], "mask_logits": outcome.sham[1]},
    }


def _slot(slot: Slot, names: ConceptNames) -> dict[str, Any]:
    paths = None
    if slot.paths:
        shares = slot.paths.shares()
        paths = {
            "total_score": slot.paths.total_score,
            "total_iou": slot.paths.total_iou,
            "shares": {name: {"score": slot.paths.score[name], "share": shares[name], "iou": slot.paths.iou[name]} for name in shares},
        }
    return {
        "slot": slot.slot,
        "confidence": slot.confidence,
        "confident": slot.confident,
        "score": slot.score,
        "segmentation": encode(slot.mask),
        "active_concepts": slot.active,
        "contribution": slot.contribution,
        "rank_correlation": {name: _number(value) for name, value in slot.rank_correlations.items()},
        "concepts": [_concept(one, names) for one in slot.carrying],
        "together": [asdict(one) for one in slot.together],
        "paths": paths,
    }


def _concept(one: Carrying, names: ConceptNames) -> dict[str, Any]:
    name = names.of(one.concept)
    return {
        "concept": one.concept,
        "attribute": name.attribute,
        "value": name.value,
        "auroc": name.auroc,
        "top_words": list(name.words),
        "contribution": one.contribution,
        "contribution_by_token_type": one.by_tokens,
        "contribution_integrated": one.integrated,
        "score_fall": one.score_fall,
        "iou_after": one.iou_after,
        "strongest_code": one.strongest,
        "codes_on_words": [round(value, 6) for value in one.words],
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
