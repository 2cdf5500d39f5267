"""Prompts of two made benchmarks, and tiny random checkpoints whose tokenizers know their words, as published ones know English."""

from pathlib import Path

import numpy as np

from segcompass.backbone.interface import Image
from segcompass.backbone.load import load_vlm
from segcompass.backbone.prompt import chat_request
from segcompass.backbone.split import SplitModel
from segcompass.datasets.masks import empty
from segcompass.datasets.samples import Sample
from segcompass.study.backbone import AnswerSettings
from segcompass.study.warm_start import WarmStartSettings
from segcompass.warm_start.thoughts import NONE, ONE, SEVERAL
from tests.checkpoints import SAVE
from tests.tiny import micro_study, pictures

ANSWER = AnswerSettings(slots=4, max_thought_tokens=40)
HOOK = 1
BENCHMARKS = ["refcoco", "grefcoco"]
WORDS = ("left", "right", "small", "large", "red", "blue", "ring", "disc", "square", "the", "man", "dog")
SETTINGS = WarmStartSettings(
    steps=120,
    prompts=8,
    learning_rate=3e-3,
    warmup_fraction=0.1,
    final_fraction=0.1,
    clip_norm=1.0,
    samples=32,
    least_valid=0.9,
    seed=0,
    checkpoint_every=1000,
)


class MadePrompts:
    """200 prompts of train and 20 others of val in each benchmark: up to three words, up to three objects, noise as pictures."""

    def samples(self, benchmark: str, split: str) -> list[Sample]:
        start = (BENCHMARKS.index(benchmark) * 2 + (split == "val")) * 1000
        return [made(f"{benchmark}_{split}_{number}", start + number) for number in range(20 if split == "val" else 200)]

    def gold_thoughts(self, split: str) -> dict[str, str]:
        return {}

    def image(self, sample: Sample) -> Image:
        return pictures(4, seed=len(sample.sample_id))[len(sample.text) % 4]


def made(name: str, seed: int) -> Sample:
    """A sample with drawn words and a drawn number of objects."""
    generator = np.random.default_rng(seed)
    text, objects = " ".join(generator.choice(WORDS, size=generator.integers(1, 4))), int(generator.integers(0, 4))
    nothing = empty(4, 4)
    return Sample(name, "i.png", 4, 4, text, objects == 0, nothing, None, (nothing,) * objects)


def save_checkpoint(folder: Path, family: str, tied: bool = False, padded: bool = True) -> None:
    """A random checkpoint of a family that knows nothing of answers, but has tokens for the words of prompts and thoughts."""
    texts = [*NONE, *ONE, *SEVERAL, chat_request(" ".join(WORDS), ANSWER.slots), "You are a helpful assistant. USER ASSISTANT"]
    SAVE[family](folder, texts=texts * 9, tied=tied, padded=padded)


def load(folder: Path, hook: int = HOOK) -> SplitModel:
    """The policy of a folder, frozen up to a hook."""
    vlm = load_vlm(folder, micro_study().runtime, ANSWER)
    assert isinstance(vlm, SplitModel)
    vlm.freeze_up_to(hook)
    return vlm
