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
from segcompass.backbone.prompt import DESCRIBE
from segcompass.backbone.training.language import BehindTower, Text, encode_text, image_prefix, pack, packed_loss
from segcompass.backbone.training.scenes import TaughtText, TrainingScene
from segcompass.optimisation.phase import PhaseRecord, run_phase
from segcompass.study.backbone import HabitSettings
from segcompass.world.instructions import facts


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
    captions = [encode_text(vlm, DESCRIBE, scene.caption) for scene in scenes]
    known = [encode_text(vlm, *fact) for fact in facts()]
    prefix = image_prefix(vlm)
    projector = vlm.model.model.multi_modal_projector

    def losses(step: int) -> dict[str, Tensor]:
        generator = np.random.default_rng([seed, 3, step])
        chosen = generator.integers(len(scenes), size=settings.batch)
        rows = []
        for index in chosen:
            own = scenes[index].texts
            drawn = [own[number] for number in generator.permutation(len(own))[: segments - 2]]
            answers = [drawn_answer(vlm, text, settings, generator) for text in drawn]
            rows.append([captions[index], *answers, known[generator.integers(len(known))]])
        return {"cross_entropy": packed_loss(vlm, pack(prefix, rows, vlm.pad_id), projector(features[chosen]))}

    vlm.requires_grad_(True)
    vlm.model.model.vision_tower.requires_grad_(False)
    return run_phase("habits", settings, BehindTower(vlm), losses, resume, every)


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
