"""What a page shows of a sample: its words and patches with their concepts, every slot, and what the carrying concepts do to it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcompass.atlas.observed import Observed
from segcompass.atlas.pictures import heat_map_uri, mask_uri
from segcompass.backbone.token_types import INSTRUCTION, THOUGHT, VISUAL
from segcompass.causal.edits import Edit
from segcompass.causal.overlap import iou

MASK, TARGET = (255, 140, 0, 150), (0, 170, 255, 150)
"""Red, green, blue, opacity."""
SEVERAL = 8
"""Times as many concepts as are listed are removed together once more: one alone rarely moves a mask to be seen."""
WORD_KINDS = {INSTRUCTION: "prompt", THOUGHT: "thought"}

Words = Callable[[Tensor], list[str]]
"""Ids [t] -> the text of each, with the spaces before it."""


def sample_views(observed: Observed, words: Words, carriers: int, pairs: int) -> list[dict[str, Any]]:
    """What is shown of each sample.

    Args:
        observed: the samples.
        words: of the backbone's tokenizer.
        carriers: concepts that are listed of each leading slot.
        pairs: of these, for how many the mask without the concept is shown.
    """
    output = observed.segmented()
    confidences = output.confidence.double().cpu().numpy()
    falls, together = _without(observed, carriers, pairs), _without_several(observed, [carriers, SEVERAL * carriers])
    views = []
    for index, (benchmark, split, sample) in enumerate(observed.places):
        valid = observed.thoughts.valid[index].cpu().numpy()
        rows, columns = int(valid.any(1).sum()), int(valid.any(0).sum())
        masks = observed.watched.model.segmenter.to_image(output.mask_logits[index], observed.thoughts.sizes[index])
        leading = observed.slots[index]
        slots = [
            {
                "slot": slot,
                "confidence": float(confidences[index, slot]),
                "leads": slot in leading,
                "heat": heat_map_uri(output.heat[index, slot].cpu().numpy()[:rows, :columns]),
                "mask": mask_uri(masks[slot], MASK),
                "carriers": falls.get((index, slot), []),
                "together": together.get((index, slot), []),
            }
            for slot in range(len(confidences[index]))
        ]
        union = np.asarray(masks[leading].any(0))
        views.append(
            {
                "sample": sample.sample_id,
                "benchmark": benchmark,
                "split": split,
                "path": sample.image,
                "size": [sample.height, sample.width],
                "text": sample.text,
                "status": observed.thoughts.status[index],
                "iou": None if sample.no_target else iou(union, observed.targets[index]),
                "target": None if sample.no_target else mask_uri(observed.targets[index], TARGET),
                "mask": mask_uri(union, MASK),
                "slots": slots,
            }
            | _tokens(observed, index, words, observed.thoughts.boxes[index])
        )
    return views


def _tokens(observed: Observed, index: int, words: Words, boxes: np.ndarray) -> dict[str, Any]:
    """Words and boxes in the order of their tokens, and of each concept [place, activation, …] in words and in patches."""
    types, own = observed.reading.token_types[index].cpu(), observed.codes[index]
    codes = own.codes.cpu().numpy()
    visual, text = ((types == VISUAL).numpy(), ((types == INSTRUCTION) | (types == THOUGHT)).numpy())
    ids = observed.reading.ids[index].cpu()[torch.from_numpy(text)]
    pieces = words(ids)
    kinds = [WORD_KINDS[int(kind)] for kind in types[torch.from_numpy(text)]]
    found: dict[str, dict[int, list[float]]] = {"in_words": {}, "in_patches": {}}
    for name, chosen in (("in_words", codes[text]), ("in_patches", codes[visual])):
        for place, concept in enumerate(own.concepts.tolist()):
            tokens = np.flatnonzero(chosen[:, place] > 0)
            if len(tokens):
                found[name][concept] = [part for token in tokens for part in (int(token), float(chosen[token, place]))]
    return {"words": [list(pair) for pair in zip(pieces, kinds, strict=True)], "boxes": boxes.round().astype(int).tolist(), **found}


@torch.no_grad()
def _without(observed: Observed, carriers: int, pairs: int) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """(Sample, slot) -> its concepts that contribute most, strongest first, each with what removing it does; of the first the mask too."""
    units, watched, chunk = observed.units, observed.watched, observed.chunk
    order = [torch.argsort(values.detach(), descending=True, stable=True)[:carriers] for values in chunk.gradients]
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    before = watched.before.sigmoid()
    for number in range(max(map(len, order), default=0)):
        edits = [Edit.whole(own[number : number + 1]) for own in order]
        heat = watched.heat(units.removed(edits))
        logits = watched.mask_logits(heat)
        falls = (chunk.score - watched.score(heat)).tolist()
        changes = (((logits.sigmoid() - before).abs() * watched.valid).sum((1, 2)) / watched.valid.sum((1, 2))).tolist()
        for row, own in enumerate(order):
            if number >= len(own):
                continue
            sample, slot, place = int(watched.owner[row]), int(watched.slot[row]), int(own[number])
            carrier: dict[str, Any] = {
                "concept": int(observed.codes[sample].concepts[place]),
                "contribution": float(chunk.gradients[row][place]),
                "fall": falls[row],
                "change": changes[row],
            }
            if number < pairs:
                after = watched.model.segmenter.to_image(logits[row : row + 1], watched.sizes[sample])[0]
                carrier["after"] = mask_uri(np.asarray(after), MASK)
            found.setdefault((sample, slot), []).append(carrier)
    return found


@torch.no_grad()
def _without_several(observed: Observed, sizes: Sequence[int]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """(Sample, slot) -> what becomes of it without the concepts that contribute most, for each number of them, by absolute contribution."""
    units, watched, chunk = observed.units, observed.watched, observed.chunk
    order = [torch.argsort(values.detach().abs(), descending=True, stable=True) for values in chunk.gradients]
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for size in sizes:
        heat = watched.heat(units.removed([Edit.whole(own[:size]) for own in order]))
        logits = watched.mask_logits(heat)
        falls = (chunk.score - watched.score(heat)).tolist()
        for row, own in enumerate(order):
            sample, slot = int(watched.owner[row]), int(watched.slot[row])
            before, after = (
                np.asarray(watched.model.segmenter.to_image(part[row : row + 1], watched.sizes[sample])[0])
                for part in (watched.before, logits)
            )
            kept = {"removed": min(size, len(own)), "fall": falls[row], "iou": iou(after, before), "after": mask_uri(after, MASK)}
            found.setdefault((sample, slot), []).append(kept)
    return found
