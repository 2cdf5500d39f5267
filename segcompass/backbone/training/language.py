"""The language model and projector on captions, facts and gold thoughts, behind the features of the frozen vision tower, as in LLaVA.

Several texts are packed behind one shared image prefix: a text sees the prefix and itself, never its neighbours, so the image's tokens are
computed once per image and step. The loss counts answer tokens only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.prompt import DESCRIBE, answer_text, prompt_parts
from segcompass.backbone.training.scenes import TrainingScene
from segcompass.optimisation.phase import PhaseRecord, run_phase
from segcompass.study.backbone import PhaseSettings
from segcompass.world.instructions import facts
from segcompass.world.thoughts import without_request

IGNORED = -100
"""Label of tokens that carry no loss."""


@dataclass(frozen=True)
class Text:
    """One packed text: ids and labels (labels of the prompt are `IGNORED`)."""

    ids: list[int]
    labels: list[int]


def encode_text(vlm: LlavaModel, instruction: str, thought: str, references: int | None = None) -> Text:
    """The part of a conversation behind the image: rest of the prompt, answer, end of sequence.

    Args:
        vlm: the model.
        instruction: what is asked.
        thought: words of the answer's thought.
        references: reference tokens of the answer; None for as many as the prompt asks for.
    """
    tokenizer, slots = vlm.processor.tokenizer, vlm.special.slots
    prompt = tokenizer.encode(prompt_parts(instruction, slots)[1], add_special_tokens=False)
    answer = [*tokenizer.encode(answer_text(thought, slots if references is None else references), add_special_tokens=False), vlm.end_id]
    return Text([*prompt, *answer], [IGNORED] * len(prompt) + answer)


@dataclass(frozen=True)
class Packed:
    """Texts behind image prefixes, right-padded; the first `prefix` positions of a row are the image's."""

    ids: Tensor
    """int64 [B, T]."""
    labels: Tensor
    """int64 [B, T]."""
    positions: Tensor
    """int64 [B, T], each text counting on from the prefix."""
    mask: Tensor
    """float [B, 1, T, T], additive."""


def pack(prefix: list[int], rows: list[list[Text]], pad_id: int) -> Packed:
    """Packs texts row by row behind the shared prefix; see `Packed`."""
    length = len(prefix) + max(sum(len(text.ids) for text in row) for row in rows)
    ids = torch.full((len(rows), length), pad_id)
    labels = torch.full_like(ids, IGNORED)
    positions = torch.zeros_like(ids)
    group = torch.full_like(ids, -1)
    for index, row in enumerate(rows):
        start = len(prefix)
        ids[index, :start] = torch.tensor(prefix)
        positions[index, :start] = torch.arange(start)
        group[index, :start] = 0
        for number, text in enumerate(row, 1):
            stop = start + len(text.ids)
            ids[index, start:stop], labels[index, start:stop] = torch.tensor(text.ids), torch.tensor(text.labels)
            positions[index, start:stop] = len(prefix) + torch.arange(len(text.ids))
            group[index, start:stop] = number
            start = stop
    allowed = (group[:, :, None] == group[:, None, :]) | (group[:, None, :] == 0)
    allowed &= torch.ones(length, length, dtype=torch.bool).tril()
    return Packed(ids, labels, positions, torch.where(allowed, 0.0, torch.finfo(torch.float32).min)[:, None])


def packed_loss(vlm: LlavaModel, packed: Packed, visual: Tensor) -> Tensor:
    """Mean cross-entropy of the answer tokens, each text's first answer token included, behind visual tokens [B, n, d]."""
    language = vlm.model.model.language_model
    embedded = language.embed_tokens(packed.ids).masked_scatter((packed.ids == vlm.image_id)[..., None], visual)
    hidden = language.norm(vlm.blocks(embedded, packed.mask, packed.positions, 0, vlm.depth))
    wanted = packed.labels[:, 1:] != IGNORED
    logits = vlm.model.lm_head(hidden[:, :-1][wanted])
    return functional.cross_entropy(logits.float(), packed.labels[:, 1:][wanted])


def train_language(
    vlm: LlavaModel,
    features: Tensor,
    scenes: list[TrainingScene],
    settings: PhaseSettings,
    segments: int,
    caption_share: float,
    seed: int,
    resume: Path,
    every: int,
) -> PhaseRecord:
    """Trains projector and language model; captions and facts first, instructions with gold thoughts after `caption_share` of the steps.

    Args:
        vlm: the model.
        features: [n, patches, width] of the scenes' images, from the vision tower.
        scenes: n training scenes.
        settings: steps, batch, rates.
        segments: texts packed behind one image: a caption, a fact, and instructions.
        caption_share: share of the steps before instructions join.
        seed: of the draws.
        resume: folder of resume points.
        every: steps between them."""
    told = [[encode_text(vlm, text.instruction, without_request(text.thought)) for text in scene.texts] for scene in scenes]

    def answers(step: int, index: int, generator: np.random.Generator) -> list[Text]:
        own = told[index] if step >= caption_share * settings.steps else []
        return [own[number] for number in generator.permutation(len(own))[: segments - 2]]

    return train_packed("language", 2, vlm, features, scenes, settings, answers, seed, resume, every)


def train_packed(
    phase: str,
    stream: int,
    vlm: LlavaModel,
    features: Tensor,
    scenes: list[TrainingScene],
    settings: PhaseSettings,
    answers: Callable[[int, int, np.random.Generator], list[Text]],
    seed: int,
    resume: Path,
    every: int,
) -> PhaseRecord:
    """Trains projector and language model on captions, facts and what a phase answers; other arguments as those of `train_language`.

    Args:
        phase: its name.
        stream: number of its random draws, another one for each phase.
        answers: (step, number of a scene, generator) -> the texts between that scene's caption and a fact.
    """
    captions = [encode_text(vlm, DESCRIBE, scene.caption) for scene in scenes]
    known = [encode_text(vlm, *fact) for fact in facts()]
    prefix = image_prefix(vlm)
    projector = vlm.model.model.multi_modal_projector

    def losses(step: int) -> dict[str, Tensor]:
        generator = np.random.default_rng([seed, stream, step])
        chosen = generator.integers(len(scenes), size=settings.batch)
        rows = [[captions[index], *answers(step, index, generator), known[generator.integers(len(known))]] for index in chosen]
        return {"cross_entropy": packed_loss(vlm, pack(prefix, rows, vlm.pad_id), projector(features[chosen]))}

    vlm.requires_grad_(True)
    vlm.model.model.vision_tower.requires_grad_(False)
    return run_phase(phase, settings, BehindTower(vlm), losses, resume, every)


def image_prefix(vlm: LlavaModel) -> list[int]:
    """Ids of a prompt up to and including its image's tokens."""
    text = prompt_parts("", vlm.special.slots)[0].replace("<image>", "<image> " * vlm.model.config.image_seq_length)
    return list(vlm.processor.tokenizer.encode(text, add_special_tokens=False))


class BehindTower(nn.Module):
    """Projector and language model by the names of transformers: what a resume point of a phase of text holds."""

    def __init__(self, vlm: LlavaModel) -> None:
        super().__init__()
        self.projector = vlm.model.model.multi_modal_projector
        self.language, self.lm_head = vlm.model.model.language_model, vlm.model.lm_head
