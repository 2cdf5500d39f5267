"""Gates that a base policy must pass before a study of reinforcement can say anything: is there room, and can it be learnt?

Gate A (room): greedy thoughts are often wrong, sampled ones rarely all wrong; the right thought is worth much to the mask; within a group
of sampled answers, right thoughts earn clearly more than wrong ones. Gate B (learnable): fine-tuning the blocks that joint training trains,
on gold thoughts of training prompts, mends greedy thoughts. Everything is measured on val, by seeds that no training uses.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from segcompass.backbone.interface import VisionLanguageModel
from segcompass.backbone.prompt import status_of
from segcompass.datasets.artefact import LearningData
from segcompass.datasets.samples import Sample
from segcompass.joint.batches import low_resolution_targets
from segcompass.joint.inference import Prediction, Predictor
from segcompass.joint.rewards import mask_reward
from segcompass.joint.rollouts import supervised_loss, well_formed
from segcompass.joint.scores import headline_score
from segcompass.world.thoughts import is_considered, thought_is_right

BATCH = 24
"""Prompts at a time."""
SAMPLES = 8
"""Sampled answers of a prompt."""
FINE_TUNING = {"steps": 100, "prompts": 16, "learning_rate": 2.0e-4}
"""Supervised fine-tuning of gate B."""

Asked = tuple[str, Sample, str]
"""Benchmark, sample, gold thought."""


def asked_samples(data: LearningData, benchmarks: Sequence[str], split: str, each: int) -> list[Asked]:
    """`each` samples of a split of every benchmark with their gold thoughts, a seeded choice."""
    gold, found = data.gold_thoughts(split), []
    for index, benchmark in enumerate(benchmarks):
        samples = data.samples(benchmark, split)
        order = np.random.default_rng([index, each]).permutation(len(samples))[:each]
        found += [(benchmark, samples[place], gold[samples[place].sample_id]) for place in sorted(order)]
    return found


def room(vlm: VisionLanguageModel, data: LearningData, asked: Sequence[Asked], longest: int, seed: int) -> dict[str, float]:
    """Shares of prompts: greedy thought right, one of `SAMPLES` right, greedy thought considered, groups with right and wrong thoughts; and
    of sampled answers: form broken, considered, right if considered, right if not."""
    generator = torch.Generator(vlm.device).manual_seed(seed)
    greedy, groups = [], []
    for part in _parts(asked, "room"):
        prompts = vlm.prompts([data.image(sample) for _, sample, _ in part], [sample.text for _, sample, _ in part])
        texts = [vlm.text(ids) for ids in vlm.generate(prompts, 1, None, longest, None).valid_ids]
        greedy += [(thought_is_right(text, gold), is_considered(text)) for text, (*_, gold) in zip(texts, part, strict=True)]
        answers = vlm.generate(prompts, SAMPLES, 1.0, longest, generator).valid_ids
        for row, (*_, gold) in enumerate(part):
            own = answers[row * SAMPLES : (row + 1) * SAMPLES]
            sampled = [(thought_is_right(vlm.text(ids), gold), is_considered(vlm.text(ids))) for ids in own]
            groups.append([(*pair, status_of(ids.tolist(), vlm.special) == "ok") for pair, ids in zip(sampled, own, strict=True)])
    first, every = np.array(greedy, float), np.array(groups, float)
    right, considered, valid = np.moveaxis(every, 2, 0)
    return {
        "greedy_right": first[:, 0].mean(),
        "greedy_considered": first[:, 1].mean(),
        f"pass_at_{SAMPLES}": right.any(1).mean(),
        "mixed_groups": ((right.sum(1) > 0) & (right.sum(1) < SAMPLES)).mean(),
        "sampled_form_broken": 1 - valid.mean(),
        "sampled_considered": considered.mean(),
        "sampled_right_if_considered": (right * considered).sum() / max(1.0, considered.sum()),
        "sampled_right_if_hasty": (right * (1 - considered)).sum() / max(1.0, (1 - considered).sum()),
    }


def learnable(
    vlm: VisionLanguageModel, data: LearningData, taught: Sequence[Asked], held: Sequence[Asked], longest: int
) -> dict[str, float]:
    """Greedy thoughts right on `held` before and after fine-tuning what joint training trains on the gold thoughts of `taught`.

    The model is changed; load it again before anything else is measured.
    """
    before = _greedy_right(vlm, data, held, longest)
    parameters = [parameter for parameter in vlm.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=FINE_TUNING["learning_rate"], weight_decay=0.0)
    size, generator = int(FINE_TUNING["prompts"]), np.random.default_rng(0)
    for _ in tqdm(range(int(FINE_TUNING["steps"])), desc="fine-tuning", disable=None):
        part = [taught[place] for place in generator.integers(len(taught), size=size)]
        prompts = vlm.prompts([data.image(sample) for _, sample, _ in part], [sample.text for _, sample, _ in part])
        loss = supervised_loss(vlm, prompts, [vlm.answer_ids(gold) for *_, gold in part])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = _greedy_right(vlm, data, held, longest)
    return {"fine_tuning_before": before, "fine_tuning_after": after, "fine_tuning_gain": after - before}


@torch.no_grad()
def worth(predictor: Predictor, data: LearningData, asked: Sequence[Asked], seed: int) -> dict[str, Any]:
    """What right thoughts are worth to the mask: gIoU by benchmark with the policy's own greedy thoughts and with gold ones, and the mean
    mask reward of right and of wrong thoughts within groups of sampled answers that have both, where there is such a group."""
    model, generator = predictor.model, torch.Generator(predictor.model.vlm.device).manual_seed(seed)
    scores: dict[str, list[tuple[float, float]]] = {}
    rewards: list[tuple[float, float]] = []
    for part in _parts(asked, "worth"):
        images, texts = [data.image(sample) for _, sample, _ in part], [sample.text for _, sample, _ in part]
        own, gold = predictor.think(images, texts), predictor.read(images, texts, [gold for *_, gold in part])
        both = [predictor.predictions(thoughts, predictor.segment(thoughts)) for thoughts in (own, gold)]
        for (benchmark, sample, _), pair in zip(part, zip(*both, strict=True), strict=True):
            scores.setdefault(benchmark, []).append(_ious(benchmark, sample, pair))
        rollouts = model.vlm.generate(model.vlm.prompts(images, texts), SAMPLES, 1.0, predictor.longest, generator)
        _, formed = well_formed(model.vlm, rollouts)
        for row, (_, sample, thought) in enumerate(part):
            own_ids = formed[row * SAMPLES : (row + 1) * SAMPLES]
            right = np.array([thought_is_right(model.vlm.text(torch.tensor(ids)), thought) for ids in own_ids])
            if right.any() and not right.all():
                earned = _mask_rewards(predictor, data, sample, own_ids)
                rewards.append((float(earned[right].mean()), float(earned[~right].mean())))
    found: dict[str, Any] = {f"gIoU_{benchmark}": float(np.mean([own for own, _ in pairs])) for benchmark, pairs in scores.items()}
    found |= {f"gIoU_gold_{benchmark}": float(np.mean([gold for _, gold in pairs])) for benchmark, pairs in scores.items()}
    found |= {f"gold_gap_{name}": found[f"gIoU_gold_{name}"] - found[f"gIoU_{name}"] for name in scores}
    if rewards:
        right_mean, wrong_mean = np.mean(rewards, 0).tolist()
        found |= {"mask_reward_right": right_mean, "mask_reward_wrong": wrong_mean, "mask_reward_gap": right_mean - wrong_mean}
    return found


def _ious(benchmark: str, sample: Sample, pair: tuple[Prediction, ...]) -> tuple[float, float]:
    own, gold = (headline_score(benchmark, sample, prediction).iou for prediction in pair)
    return own, gold


def _mask_rewards(predictor: Predictor, data: LearningData, sample: Sample, answers: list[list[int]]) -> np.ndarray:
    model, image = predictor.model, data.image(sample)
    thoughts = predictor.read_ids([image] * len(answers), [sample.text] * len(answers), answers)
    output = predictor.segment(thoughts)
    probabilities = output.mask_logits.sigmoid() * thoughts.valid[:, None]
    chosen = output.confidence >= predictor.confidence_threshold
    targets = low_resolution_targets(model.segmenter, sample)
    return np.array([mask_reward(masks[slots], targets) for masks, slots in zip(probabilities, chosen, strict=True)])


@torch.no_grad()
def _greedy_right(vlm: VisionLanguageModel, data: LearningData, asked: Sequence[Asked], longest: int) -> float:
    right = []
    for part in _parts(asked, "greedy"):
        prompts = vlm.prompts([data.image(sample) for _, sample, _ in part], [sample.text for _, sample, _ in part])
        answers = vlm.generate(prompts, 1, None, longest, None).valid_ids
        right += [thought_is_right(vlm.text(ids), gold) for ids, (*_, gold) in zip(answers, part, strict=True)]
    return float(np.mean(right))


def _parts(asked: Sequence[Asked], name: str) -> Iterator[Sequence[Asked]]:
    yield from (asked[start : start + BATCH] for start in tqdm(range(0, len(asked), BATCH), desc=name, disable=None))
