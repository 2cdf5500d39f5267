"""The last phase of the language model: two ways of answering taught side by side, so that there is something for reward to mend.

A base policy that answers as well as its gold thoughts leaves reinforcement nothing to do, and one whose errors are perceptual cannot be
mended by it. Here the frequent way names its target at once and is easily taken in by a decoy (`segcompass/world/hasty.py`); the rare way
considers the request, a fact or an anchor first, and is right as often as the model sees well. The form slips now and then: a reference
token too few or too many, mostly where there is much to say. Captions and facts go on beside, so that nothing else is forgotten.
"""

from pathlib import Path

import numpy as np
from torch import Tensor

from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.training.language import Text, encode_text, train_packed
from segcompass.backbone.training.scenes import TaughtText, TrainingScene
from segcompass.optimisation.phase import PhaseRecord
from segcompass.study.backbone import HabitSettings


def train_habits(
    vlm: LlavaModel,
    features: Tensor,
    scenes: list[TrainingScene],
    settings: HabitSettings,
    segments: int,
    seed: int,
    resume: Path,
    every: int,
) -> PhaseRecord:
    """Trains projector and language model; arguments as those of `train_language`."""

    def answers(step: int, index: int, generator: np.random.Generator) -> list[Text]:
        del step
        own = scenes[index].texts
        drawn = [own[number] for number in generator.permutation(len(own))[: segments - 2]]
        return [drawn_answer(vlm, text, settings, generator) for text in drawn]

    return train_packed("habits", 3, vlm, features, scenes, settings, answers, seed, resume, every)


def drawn_answer(vlm: LlavaModel, text: TaughtText, settings: HabitSettings, generator: np.random.Generator) -> Text:
    """One answer to an instruction: considered or hasty, right or mistaken, in form or not, by the shares of the recipe."""
    considered, mistaken, broken, too_many = generator.random(4)
    thought = text.thought
    if considered >= settings.considered_share:
        tempted = settings.mistaken_if_tempting if text.hasty.tempting else settings.mistaken_otherwise
        thought = text.hasty.wrong if mistaken < tempted else text.hasty.right
    slots = vlm.special.slots
    slips = broken < (settings.broken_form_several if text.targets > 1 else settings.broken_form)
    return encode_text(vlm, text.instruction, thought, slots + (1 if too_many < 0.5 else -1) if slips else slots)
