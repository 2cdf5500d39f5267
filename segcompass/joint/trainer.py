"""Joint training: GRPO on the thoughts, segmentation losses on the masks that they lead to (paper section 2, stage 2).

Shape letters: B prompts, G rollouts a prompt, N = B * G, A answer tokens, K slots, m side of low-resolution masks.
Departures from the paper:
1. One update per batch of rollouts, so old and new policy are the same and the ratio is 1 up to rounding; clipping is kept for its formula.
2. Weight 0 of the policy leaves sampling and the KL term in place: `seg_only` differs from `full` by the reward signal and nothing else,
   and its thoughts cannot drift merely because nothing holds them.
3. Sampling leaves the states at the hook behind, so the frozen blocks run once; where every answer keeps the form, the policy's own pass
   above the hook carries the reference tokens that the masks are read from.
4. Answers of one prompt that are word for word the same have the same masks: they are read once and counted as often as they were sampled.
   Only slots matched to an object are decoded with gradient; matching and reward need none.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from segcompass.backbone.interface import HookStates
from segcompass.joint.batches import Batch, TrainingPrompts
from segcompass.joint.grpo import clip_fraction, low_variance_kl, policy_loss, token_mean
from segcompass.joint.model import JointModel, Segmentation
from segcompass.joint.rewards import advantages, as_tensor, mask_reward
from segcompass.joint.rollouts import Answers, answer, distinct
from segcompass.joint.supervision import confidence_loss, mask_losses, matched_pairs
from segcompass.optimisation.resume import ResumePoint
from segcompass.optimisation.schedule import rate_factor
from segcompass.study.backbone import AnswerSettings
from segcompass.study.joint import JointSettings

Row = dict[str, Any]


class JointTrainer:
    """Trains one variant with one seed. `entropy` is the Monte-Carlo estimate: minus the mean log-probability of sampled tokens."""

    def __init__(
        self,
        model: JointModel,
        prompts: TrainingPrompts,
        settings: JointSettings,
        answer_settings: AnswerSettings,
        confidence_threshold: float,
        seed: int,
    ) -> None:
        self.model, self.prompts, self.settings, self.seed = model, prompts, settings, seed
        self.confidence_threshold = confidence_threshold
        self.longest = answer_settings.longest
        self.reference = model.vlm.reference_copy()

    def run(self, resume: Path) -> list[Row]:
        """Trains from the last resume point on.

        Returns:
            The curve, one row a step.
        """
        settings = self.settings
        optimiser = self.model.optimiser(settings.learning_rates)
        point = ResumePoint(resume, "joint")
        done, rows = point.load(self.model.trained(), optimiser)
        for step in tqdm(range(done, settings.steps), desc="joint", initial=done, total=settings.steps, disable=None):
            factor = rate_factor(step, settings.steps, settings.warmup_fraction, settings.final_fraction)
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
            rows.append({"step": step} | self._step(step, optimiser))
            if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
                point.save(step + 1, self.model.trained(), optimiser, rows)
        return rows

    def _step(self, step: int, optimiser: torch.optim.Optimizer) -> Row:
        batch = self.prompts.batch(step, self.settings.prompts)
        losses, row = self.losses(batch, step)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        norms = {f"norm_{name}": _norm(parameters) for name, parameters in self.model.parts().items()}
        nn.utils.clip_grad_norm_(list(self.model.trained().values()), self.settings.clip_norm)
        optimiser.step()
        names = ("policy", "kl", "heat_bce", "heat_dice", "mask_dice", "mask_focal", "confidence")
        return (
            row
            | {name: float(losses[name].detach()) if name in losses else 0.0 for name in names}
            | {"total": float(total.detach())}
            | norms
        )

    def losses(self, batch: Batch, step: int) -> tuple[dict[str, Tensor], Row]:
        """Named, weighted losses of a batch, whose sum is minimised, and the step's record of rewards and policy."""
        policy, vlm = self.settings.policy, self.model.vlm
        prompts = vlm.prompts(batch.images, batch.texts)
        generator = torch.Generator(vlm.device).manual_seed(self.seed * 1_000_003 + step)
        answers = answer(vlm, prompts, policy.group, policy.temperature, self.longest, generator)
        raw, states = answers.sampled, answers.formed
        last = vlm.upper(raw)
        formed = last if states is raw else vlm.upper(states)
        once, of, counts = distinct(states)
        read, prompt = states.rows(once), once // policy.group
        embeddings, valid = batch.embeddings[prompt], batch.valid[prompt]
        targets = [batch.targets[index] for index in prompt.tolist()]
        reference_states = self.model.reference_states(formed[once], read)
        heat, confidence = self.model.read(self.model.codes(read), read, reference_states, embeddings, valid)
        with torch.no_grad():
            output = Segmentation(heat, confidence, self.model.masks(heat, embeddings, valid))
        format_reward, masks = answers.valid.astype(float), self._mask_rewards(output, targets, valid)[of.cpu().numpy()]
        masks *= format_reward
        rewards = (policy.reward.format * format_reward + policy.reward.mask * masks).reshape(-1, policy.group)
        losses, row = self._policy_losses(raw, last, answers, as_tensor(advantages(rewards)).to(vlm.device))
        if self.settings.segmentation.weight:
            losses |= self._segmentation_losses(output, embeddings, targets, valid, counts)
        spread = rewards.std(1, ddof=1).mean() if policy.group > 1 else 0.0
        record = {"reward": rewards.mean(), "reward_format": format_reward.mean(), "reward_mask": masks.mean(), "reward_spread": spread}
        return losses, {name: float(value) for name, value in record.items()} | row

    @torch.no_grad()
    def _mask_rewards(self, output: Segmentation, targets: list[Tensor], valid: Tensor) -> np.ndarray:
        probabilities = output.mask_logits.sigmoid() * valid[:, None]
        chosen = output.confidence >= self.confidence_threshold
        return np.array([mask_reward(masks[slots], objects) for masks, slots, objects in zip(probabilities, chosen, targets, strict=True)])

    def _segmentation_losses(
        self, output: Segmentation, embeddings: Tensor, targets: list[Tensor], valid: Tensor, counts: Tensor
    ) -> dict[str, Tensor]:
        settings = self.settings.segmentation
        with torch.no_grad():
            seen = output.mask_logits.sigmoid() * valid[:, None]
            pairs = matched_pairs(seen, settings.match_confidence * output.confidence, targets)
        index, slot, item = pairs.unbind(1)
        heat, where = output.heat[index, slot], valid[index]
        masks = self.model.masks(heat[:, None], embeddings[index], where)[:, 0]
        truth = torch.stack([targets[i][j] for i, j in zip(index.tolist(), item.tolist(), strict=True)]) if len(pairs) else heat
        losses = {"confidence": settings.confidence * confidence_loss(output.confidence_logits, pairs, counts)}
        return losses | mask_losses(heat, masks, truth, where, counts[index], settings)

    def _policy_losses(self, states: HookStates, last: Tensor, answers: Answers, advantage: Tensor) -> tuple[dict[str, Tensor], Row]:
        policy, vlm, mask = self.settings.policy, self.model.vlm, answers.rollouts.answer_mask
        log_probs, old = vlm.answer_log_probs(last, states, policy.temperature), answers.rollouts.log_probs
        with torch.no_grad(), vlm.using(self.reference):
            reference = vlm.answer_log_probs(vlm.upper(states), states, policy.temperature)
        losses = {"kl": policy.kl * low_variance_kl(log_probs, reference, mask)}
        if policy.weight:
            losses["policy"] = policy.weight * policy_loss(log_probs, old, advantage, mask, policy.clip)
        with torch.no_grad():
            row = {
                "entropy": float(-token_mean(log_probs, mask)),
                "clip_fraction": float(clip_fraction(log_probs, old, mask, policy.clip)),
                "answer_tokens": float(mask.sum(1).float().mean()),
            }
        return losses, row


def _norm(parameters: list[nn.Parameter]) -> float:
    squares = [parameter.grad.square().sum() for parameter in parameters if parameter.grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
