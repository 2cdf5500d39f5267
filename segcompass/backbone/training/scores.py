"""What a backbone can do, measured on held-out scenes with greedy decoding: the scores of its card.

Every score is a share in 0 … 1, of the scenes of `val`; captions are scored on the scenes of all held-out splits, since a scene has only
one of them. Nothing is chosen by these numbers, and nothing is read from the training split but the fit of the linear probe.
"""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segcompass.backbone.interface import Segmenter, SegmenterInputs, VisionLanguageModel
from segcompass.backbone.prompt import DESCRIBE, THINK_CLOSE, THINK_OPEN, status_of
from segcompass.backbone.training.scenes import read_scenes
from segcompass.backbone.training.segmenter import PreparedScenes, noisy_prompt, prepare_scenes
from segcompass.datasets.artefact import read_lines
from segcompass.datasets.images import read_image
from segcompass.joint.rollouts import answer
from segcompass.world.lexicon import ATTRIBUTES
from segcompass.world.thoughts import Described, parse_targets, thought_is_right

BATCH = 48
SAMPLES = 8
"""Sampled answers of a prompt whose greedy answer is wrong."""
CAPTION_TOKENS = 120
HELD_OUT = ("val", "testA", "testB", "test")
"""Splits whose scenes are captioned."""
PROBE_ROWS = 1500
PROBE_SCENES = 300
RIDGE = 1e-2
"""Ridge penalty of the linear probe, as a share of the states' mean square."""

Rows = list[dict[str, Any]]


def vlm_scores(vlm: VisionLanguageModel, data: Path, longest: int, seed: int) -> dict[str, float]:
    """Captions, thoughts by benchmark, facts, form, room for reinforcement learning, and the probe of the reference tokens.

    Args:
        vlm: the model.
        data: artefact of prepare_data.
        longest: tokens of the longest answer.
        seed: of the sampled answers.
    """
    rows = read_lines(data / "supervision" / "val.jsonl")
    texts, valid = _greedy(vlm, data, rows, longest)
    right = [thought_is_right(text, row["thought"]) for text, row in zip(texts, rows, strict=True)]
    kinds: dict[str, list[bool]] = defaultdict(list)
    for row, good in zip(rows, right, strict=True):
        kinds[_kind(row)].append(good)
    scores = {f"thought_right_{name}": float(np.mean(values)) for name, values in sorted(kinds.items())}
    trained = [number for number, row in enumerate(rows) if row["benchmark"] not in ("reasonseg", "implicit")]
    scores |= {"answer_valid": float(np.mean(valid))}
    scores |= {"greedy_wrong_one_sample_right": _room(vlm, data, [rows[i] for i in trained], [right[i] for i in trained], longest, seed)}
    return scores | _facts(vlm, data, rows[0]["image"], longest) | _captions(vlm, data) | _reference_probe(vlm, data, longest)


def sam_scores(sam: Segmenter, data: Path, seed: int, name: str) -> dict[str, float]:
    """Masks, and the probe of the embedding, of the SAM of this name."""
    held = prepare_scenes(sam, read_scenes(data, "val"))
    scores = {"mask_iou": _mask_iou(sam, held, seed)} | _embedding_probe(sam, data, held)
    return {sam_score(score, name): value for score, value in scores.items()}


def sam_score(score: str, name: str) -> str:
    """How the card calls a score of the SAM of this name: the largest one's has no suffix."""
    return score if name == "sam" else f"{score}_{name}"


def _embedding_probe(sam: Segmenter, data: Path, held: PreparedScenes) -> dict[str, float]:
    """Held-out accuracy of a linear read-out of an object's attributes and place from SAM's embedding of a cell that it covers."""
    fitted = prepare_scenes(sam, read_scenes(data, "train")[:PROBE_SCENES])
    scores = _read_out(*_object_cells(sam, fitted), *_object_cells(sam, held))
    return {f"embedding_probe_{name}": score for name, score in scores.items()}


@torch.no_grad()
def _object_cells(sam: Segmenter, prepared: PreparedScenes) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings float64 [n, C] and classes int64 [n, 5] of the cells on objects."""
    features, classes = [], []
    for pixels, (of_cells, _) in zip(prepared.pixels, prepared.cells, strict=True):
        embedding = sam.embed(SegmenterInputs(pixels[None].float(), [], prepared.valid[:1]))[0].flatten(1).T
        seen = of_cells[:, 0] >= 0
        features.append(embedding.double().numpy()[seen])
        classes.append(of_cells[seen])
    return np.concatenate(features), np.concatenate(classes)


def _mask_iou(sam: Segmenter, prepared: PreparedScenes, seed: int) -> float:
    """IoU of the mask decoded from a blurred, noisy mask prompt, mean over every object of the scenes."""
    found = []
    with torch.no_grad():
        for index in range(len(prepared.masks)):
            target = prepared.fractions(index)
            noise = torch.Generator().manual_seed(seed * 1_000_003 + index)
            inputs = SegmenterInputs(prepared.pixels[index : index + 1].float(), [], prepared.valid[index : index + 1])
            logits = sam.decode(sam.embed(inputs), noisy_prompt(target, noise)[None])[0]
            predicted, truth = (logits > 0) & prepared.valid[index], target > 0.5
            found.append((predicted & truth).sum((1, 2)) / (predicted | truth).sum((1, 2)).clamp(min=1))
    return float(torch.cat(found).mean())


def _kind(row: dict[str, Any]) -> str:
    if row["benchmark"] != "grefcoco":
        return str(row["benchmark"])
    return f"grefcoco_{('none', 'single')[len(row['targets'])] if len(row['targets']) < 2 else 'several'}"


def _greedy(vlm: VisionLanguageModel, data: Path, rows: Rows, longest: int) -> tuple[list[str], list[bool]]:
    """(text, whether the form holds) of each row's greedy answer."""
    texts, valid = [], []
    for start in range(0, len(rows), BATCH):
        for ids in _answers(vlm, data, rows[start : start + BATCH], longest):
            texts.append(vlm.text(ids))
            valid.append(status_of(ids.tolist(), vlm.special) == "ok")
    return texts, valid


def _answers(
    vlm: VisionLanguageModel, data: Path, rows: Rows, longest: int, group: int = 1, generator: torch.Generator | None = None
) -> list[torch.Tensor]:
    prompts = vlm.prompts([read_image(data / "root" / row["image"]) for row in rows], [row["text"] for row in rows])
    return vlm.generate(prompts, group, 1.0 if generator else None, longest, generator).valid_ids


def _room(vlm: VisionLanguageModel, data: Path, rows: Rows, right: list[bool], longest: int, seed: int) -> float:
    """Share of all prompts whose greedy thought is wrong while one of `SAMPLES` sampled ones is right."""
    wrong = [row for row, good in zip(rows, right, strict=True) if not good]
    generator, rescued = torch.Generator().manual_seed(seed), 0
    for start in range(0, len(wrong), BATCH // SAMPLES):
        chunk = wrong[start : start + BATCH // SAMPLES]
        answers = _answers(vlm, data, chunk, longest, SAMPLES, generator)
        for number, row in enumerate(chunk):
            rescued += any(thought_is_right(vlm.text(ids), row["thought"]) for ids in answers[number * SAMPLES : (number + 1) * SAMPLES])
    return rescued / len(rows)


def _facts(vlm: VisionLanguageModel, data: Path, image: str, longest: int) -> dict[str, float]:
    rows = [row | {"image": image} for row in read_lines(data / "supervision" / "facts.jsonl")]
    texts, _ = _greedy(vlm, data, rows, longest)
    return {"facts_recalled": float(np.mean([_words(text) == row["thought"] for text, row in zip(texts, rows, strict=True)]))}


def _captions(vlm: VisionLanguageModel, data: Path) -> dict[str, float]:
    """Recall and precision of the objects that captions name with right size, colour, shape and place."""
    scenes = [scene for split in HELD_OUT for scene in read_lines(data / "scenes" / f"{split}.jsonl")]
    texts, _ = _greedy(vlm, data, [{"image": scene["image"], "text": DESCRIBE} for scene in scenes], CAPTION_TOKENS)
    hits = truths = named = 0
    for scene, text in zip(scenes, texts, strict=True):
        truth = Counter((o["size"], o["colour"], o["shape"], o["place"]) for o in scene["objects"])
        told = Counter(_plain(item) for item in parse_targets(f"target : {_words(text)}") or [])
        hits, truths, named = hits + (truth & told).total(), truths + truth.total(), named + told.total()
    return {"caption_recall": hits / truths, "caption_precision": hits / max(1, named)}


def _plain(item: Described) -> tuple[str, str, str, str]:
    size, colour, _, shape, place = item
    return size, colour, shape, place


def _words(text: str) -> str:
    return text.partition(THINK_OPEN)[2].partition(THINK_CLOSE)[0].strip()


def _reference_probe(vlm: VisionLanguageModel, data: Path, longest: int) -> dict[str, float]:
    """Held-out accuracy of a linear read-out of the target's attributes and place from the first reference token's last hidden state.

    Expressions with one target; the truth is the scene's, not the thought's.
    """
    fitted, held = (_single_target(data, split) for split in ("train", "val"))
    x, y = _reference_states(vlm, data, fitted[:PROBE_ROWS], longest), _classes(data, "train", fitted[:PROBE_ROWS])
    x_held, y_held = _reference_states(vlm, data, held, longest), _classes(data, "val", held)
    return {f"reference_probe_{name}": score for name, score in _read_out(x, y, x_held, y_held).items()}


def _read_out(x: np.ndarray, y: np.ndarray, x_held: np.ndarray, y_held: np.ndarray) -> dict[str, float]:
    """Accuracy of a ridge regression of each attribute: features [n, d] and classes [n, 5] to fit it, others to score it."""
    mean = x.mean(0)
    design, scale = x - mean, float(np.square(x - mean).mean())
    gram = design.T @ design / len(design) + RIDGE * scale * np.eye(x.shape[1])
    found = {}
    for index, (name, values) in enumerate(ATTRIBUTES.items()):
        one_hot = np.eye(len(values))[y[:, index]]
        weights = np.linalg.solve(gram, design.T @ (one_hot - one_hot.mean(0)) / len(design))
        guess = ((x_held - mean) @ weights + one_hot.mean(0)).argmax(1)
        found[name] = float((guess == y_held[:, index]).mean())
    return found


def _single_target(data: Path, split: str) -> Rows:
    rows = read_lines(data / "supervision" / f"{split}.jsonl")
    single = [row for row in rows if len(row["targets"]) == 1 and row["benchmark"] not in ("reasonseg", "implicit")]
    return [single[index] for index in np.random.default_rng(0).permutation(len(single))]


def _classes(data: Path, split: str, rows: Rows) -> np.ndarray:
    objects = {scene["image"]: scene["objects"] for scene in read_lines(data / "scenes" / f"{split}.jsonl")}
    targets = [objects[row["image"]][row["targets"][0]] for row in rows]
    return np.array([[values.index(target[name]) for name, values in ATTRIBUTES.items()] for target in targets])


@torch.no_grad()
def _reference_states(vlm: VisionLanguageModel, data: Path, rows: Rows, longest: int) -> np.ndarray:
    parts = []
    for start in range(0, len(rows), BATCH):
        chunk = rows[start : start + BATCH]
        prompts = vlm.prompts([read_image(data / "root" / row["image"]) for row in chunk], [row["text"] for row in chunk])
        states = answer(vlm, prompts, 1, None, longest, None).formed
        parts.append(vlm.reference_states(vlm.upper(states), states)[:, 0])
    return torch.cat(parts).double().numpy()
