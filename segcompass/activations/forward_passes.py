"""Hidden states at the hook from a running backbone: image tokens once an image, instruction and thought tokens of every expression.

Thoughts are the model's own, greedy ones, as in the paper's joint training the codes of thoughts are those of sampled text. A chunk is one
forward pass over a batch of expressions and depends on nothing before it, so it can be computed again at any time: for a cache, or for a
dictionary that is trained without one.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from segcompass.activations.source import Tokens, TokenSource
from segcompass.backbone.interface import INSTRUCTION, THOUGHT, VISUAL, VisionLanguageModel
from segcompass.datasets.artefact import data_root, each_sample
from segcompass.datasets.images import read_image
from segcompass.numerics.finite import Place, narrowed
from segcompass.study.concepts import ActivationSettings


class Expression(NamedTuple):
    """An owner of tokens."""

    sample_id: str
    image: str
    size: tuple[int, int]
    """Annotated (height, width)."""
    text: str


class Reading(NamedTuple):
    """What one forward pass reads, an entry an owner."""

    images: list[np.ndarray]
    """uint8 [height, width, 3] each."""
    texts: list[str]
    names: list[str]
    shown: list[bool]
    """Whether its visual tokens are wanted too."""


class ForwardPasses:
    """The tokens of a study's training expressions; chunk n holds those of its n-th batch."""

    def __init__(self, vlm: VisionLanguageModel, data: Path, settings: ActivationSettings, longest: int) -> None:
        """`data` is the artefact of prepare_data, `longest` the number of tokens of the longest answer."""
        self.vlm, self.root, self.settings, self.longest = vlm, data_root(data), settings, longest
        self.expressions = training_expressions(data, settings.scenes)
        vlm.freeze_up_to(settings.hook_layer)

    def __len__(self) -> int:
        """Number of chunks."""
        return -(-len(self.expressions) // self.settings.batch)

    def owners(self, number: int) -> slice:
        """The expressions of a chunk."""
        return slice(number * self.settings.batch, (number + 1) * self.settings.batch)

    def tokens(self, number: int) -> Tokens:
        """The tokens of a chunk, hidden states rounded to the cache's dtype.

        Raises:
            InputError: a hidden state is not finite, or the cache's dtype cannot hold it.
        """
        owners = self.owners(number)
        batch = self.expressions[owners]
        # The image precedes the instruction, so its states are the same for every expression of the image.
        shown = [not place or self.expressions[place - 1].image != own.image for place, own in enumerate(batch, owners.start)]
        images = [read_image(self.root / own.image, own.size) for own in batch]
        reading = Reading(images, [own.text for own in batch], [own.sample_id for own in batch], shown)
        return read_tokens(self.vlm, reading, owners.start, self.settings, self.longest)


def read_tokens(vlm: VisionLanguageModel, reading: Reading, start: int, settings: ActivationSettings, longest: int) -> Tokens:
    """The tokens of one forward pass over some texts, each answered by the model; `start` is the number of the first owner.

    Raises:
        InputError: a hidden state is not finite, or the cache's dtype cannot hold it.
    """
    prompts = vlm.prompts(reading.images, reading.texts)
    rollouts = vlm.generate(prompts, 1, None, longest, None)
    states = vlm.lower(prompts, rollouts.answers, rollouts.answer_mask)
    wanted = (states.token_types == INSTRUCTION) | (states.token_types == THOUGHT)
    for row, image_too in enumerate(reading.shown):
        if image_too:
            wanted[row] |= states.token_types[row] == VISUAL
    rows = wanted.nonzero()[:, 0].cpu()

    def said(place: Place) -> str:
        token, owner = int(states.order[wanted][place[0]]), reading.names[int(rows[place[0]])]
        return f"a hidden state of layer {settings.hook_layer} at token {token} of {owner}"

    return {
        "hidden": narrowed(states.hidden[wanted], getattr(torch, settings.dtype), said),
        "owner": (start + rows).to(torch.int32),
        "position": states.order[wanted].to("cpu", torch.int32),
        "token_type": states.token_types[wanted].to("cpu", torch.uint8),
    }


class RunningBackbone(TokenSource):
    """The tokens that a cache would hold, computed whenever they are asked for."""

    def __init__(self, passes: ForwardPasses, held_out_fraction: float, seed: int) -> None:
        images = [own.image for own in passes.expressions]
        super().__init__(passes.settings.hook_layer, passes.vlm.hidden_width, images, held_out_fraction, seed)
        self.passes = passes

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return len(self.passes)

    def owners(self, number: int) -> slice:
        """See `TokenSource.owners`."""
        return self.passes.owners(number)

    def tokens(self, number: int) -> Tokens:
        """See `TokenSource.tokens`."""
        return self.passes.tokens(number)


def training_expressions(data: Path, scenes: int) -> list[Expression]:
    """Training expressions of the first `scenes` images, sorted by image."""
    kept = set(sorted({sample.image for sample in each_sample(data, "train")})[:scenes])
    samples = (sample for sample in each_sample(data, "train") if sample.image in kept)
    own = (Expression(sample.sample_id, sample.image, (sample.height, sample.width), sample.text) for sample in samples)
    return sorted(own, key=lambda one: (one.image, one.sample_id))
