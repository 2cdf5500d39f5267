"""Joint training: GRPO on the thoughts, segmentation losses on the masks that they lead to (paper section 2, stage 2).

Shape letters: B prompts, G rollouts a prompt, N = B * G, A answer tokens, K slots, m side of low-resolution masks.
Departures from the paper:
1. One update per batch of rollouts, so old and new policy are the same and the ratio is 1 up to rounding; clipping is kept for its formula.
2. Weight 0 of the policy leaves sampling and the KL term in place: `seg_only` differs from `full` by the reward signal and nothing else,
   and its thoughts cannot drift merely because nothing holds them.
3. Sampling leaves the states at the hook behind, so the frozen blocks run once; where every answer keeps the form, the policy's own pass
   above the hook carries the reference tokens that the masks are read from.
4. Answers of one prompt that are word for word the same have the same masks: they are read once and counted as often as they were sampled.
   Only slots matched to an object are mapped and decoded with gradient; matching and reward need none.
5. As the study says (`joint.policy`, `joint.segmentation_gradient`, `joint.clip_norm`): advantages without division by the deviation,
   groups without spread left out, a share of the segmentation gradient in the policy, gradient norms of the policy and of the rest clipped
   apart.

Several processes share the prompts of every step: each draws the random numbers of all of them and uses its own, losses are means over all
prompts or over all matched pairs, gradients are averaged, so P processes take the steps of one, up to rounding. Where the policy's weights
are divided among them (`JointModel.divide`), they sample as long as any of them does, and all read well-formed answers anew if one must.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from segcompass.backbone.interface import HookStates, SharedGenerator
from segcompass.errors import InputError
from segcompass.joint.batches import Batch, TrainingPrompts
from segcompass.joint.grpo import clip_fraction, low_variance_kl, policy_loss, token_mean
from segcompass.joint.model import JointModel, Segmentation
from segcompass.joint.rewards import advantages, as_tensor, live_groups, mask_reward
from segcompass.joint.rollouts import Answers, answer
from segcompass.joint.supervision import confidence_loss, heat_losses, mask_losses, matched_pairs, objects_at
from segcompass.joint.validation import KeptWeights, Validation
from segcompass.numerics.finite import check_step
from segcompass.optimisation.division import forget_passes, whole
from segcompass.optimisation.processes import Processes
from segcompass.optimisation.schedule import rate_factor
from segcompass.optimisation.stopwatch import Stopwatch
from segcompass.optimisation.streamed_resume import StreamedResumePoint
from segcompass.study.backbone import AnswerSettings
from segcompass.study.joint import JointSettings
from segcompass.world.thoughts import is_considered, thought_is_right

Row = dict[str, Any]


@dataclass(frozen=True)
class JointRecord:
    """What a run leaves behind beside the weights."""

    curve: list[Row]
    """One row a step."""
    validation: list[Row]
    """One row a validation, the first of them before the first step."""
    kept_step: int
    """Steps done when the weights were there that the run ends with."""
    seconds: dict[str, float]
    """Wall time by phase of the main process, over all runs that it took."""


class JointTrainer:
    """Trains one variant with one seed.

    In the curve, losses are weighted, as they are added up; `kl_to_reference` is the estimate itself, in nats a token, and `entropy` the
    Monte-Carlo estimate, minus the mean log-probability of sampled tokens. `reward_spread` and `advantage_spread` are standard deviations
    within a prompt's rollouts, `live_groups` the share of prompts whose rollouts' rewards differ, `thought_accuracy` the share of rollouts
    whose thought ends in the gold thought's targets, `considered` of those that say anything before they name them, `norm_*` each part's
    gradient before clipping.
    """

    def __init__(
        self,
        model: JointModel,
        prompts: TrainingPrompts,
        settings: JointSettings,
        answer_settings: AnswerSettings,
        confidence_threshold: float,
        seed: int,
        processes: Processes | None = None,
        reference: nn.Module | None = None,
    ) -> None:
        """`processes` None: this one alone; `reference` None: a copy of the policy as it stands.

        Raises:
            InputError: the processes cannot share a step's prompts evenly.
        """
        self.model, self.prompts, self.settings, self.seed = model, prompts, settings, seed
        self.confidence_threshold = confidence_threshold
        self.longest = answer_settings.longest
        self.processes = processes or Processes()
        if settings.prompts % self.processes.count:
            problem = f"is {settings.prompts}, which {self.processes.count} processes cannot share evenly; take a multiple"
            raise InputError(None, "joint.prompts", problem)
        self.reference = reference or model.vlm.reference_copy()
        self.clock = Stopwatch(model.vlm.device)

    def run(self, resume: Path, validation: Validation) -> JointRecord:
        """Trains from the last resume point on, and leaves the weights in the model that the checkpoint rule keeps."""

        def validate(done: int) -> None:
            with self.clock("validation"):
                validated.append(validation.row(done))
            kept.consider(done, validated[-1]["gIoU"])

        settings, trained = self.settings, self.model.trained()
        optimiser = self.model.optimiser(settings.learning_rates)
        kept = KeptWeights(settings.checkpoint, trained)
        point = StreamedResumePoint(resume, "joint", self.processes)
        done, rows = point.load(trained | kept.tensors(), optimiser)
        validated: list[Row] = point.notes.get("validation", [])
        kept.step, kept.score = point.notes.get("kept", (kept.step, kept.score))
        self.clock.seconds = point.notes.get("seconds", {})
        if not done:
            validate(0)
        for step in tqdm(range(done, settings.steps), desc="joint", initial=done, total=settings.steps, disable=None):
            factor = rate_factor(step, settings.steps, settings.warmup_fraction, settings.final_fraction)
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
            rows.append({"step": step} | self._step(step, optimiser))
            done, ended = step + 1, step + 1 == settings.steps
            if ended or done % settings.validation.every == 0:
                validate(done)
            if ended or done % settings.checkpoint_every == 0:
                notes = {"validation": validated, "kept": [kept.step, kept.score], "seconds": self.clock.seconds}
                point.save(done, trained | kept.tensors(), optimiser, rows, notes=notes)
        kept.restore()
        return JointRecord(rows, validated, kept.step, self.clock.seconds)

    def _step(self, step: int, optimiser: torch.optim.Optimizer) -> Row:
        with self.clock("batch"):
            batch = self.prompts.batch(step, self.settings.prompts)
        losses, row = self.losses(batch, step)
        with self.clock("backward"):
            total = torch.stack(list(losses.values())).sum()
            optimiser.zero_grad()
            total.backward()
            trained = list(self.model.trained().values())
            self.processes.average_gradients(trained)
        with self.clock("optimiser"):
            parts = self.model.parts()
            norms = {f"norm_{name}": _norm(parameters) for name, parameters in parts.items()}
            check_step({"total": float(total.detach())} | norms, step, "joint.learning_rates")
            others = [parameter for name, parameters in parts.items() if name != "language" for parameter in parameters]
            nn.utils.clip_grad_norm_(parts["language"], self.settings.clip_norm.language)
            nn.utils.clip_grad_norm_(others, self.settings.clip_norm.others)
            optimiser.step()
            for part in (self.model.vlm, self.reference):
                forget_passes(part)
        names = ("policy", "kl", "heat_bce", "heat_dice", "mask_dice", "mask_focal", "confidence")
        row |= {name: float(losses[name].detach()) if name in losses else 0.0 for name in names}
        row = self._averaged(row | {"total": float(total.detach())})
        known = row.pop("thought_known")
        row |= {name: row[name] / known if known else "" for name in ("thought_accuracy", "considered")}
        return row | norms

    def losses(self, batch: Batch, step: int) -> tuple[dict[str, Tensor], Row]:
        """Named, weighted losses of this process's prompts, whose sum is minimised, and the step's record of rewards and policy."""
        policy, vlm = self.settings.policy, self.model.vlm
        with self.clock("sampling"):
            prompts = vlm.prompts(batch.images, batch.texts)
            generator = torch.Generator(vlm.device).manual_seed(self.seed * 1_000_003 + step)
            shared = SharedGenerator(generator, self.processes.count, self.processes.rank)
            answers = answer(vlm, prompts, policy.group, policy.temperature, self.longest, shared)
        raw, states = answers.sampled, answers.formed
        with self.clock("policy"):
            last = vlm.upper(raw)
            formed = last if states is raw else vlm.upper(states)
        with self.clock("masks"):
            once, of, counts = states.distinct()
            read, prompt = states.rows(once), once // policy.group
            embeddings, valid = batch.embeddings[prompt], batch.valid[prompt]
            targets = [batch.targets[index] for index in prompt.tolist()]
            reference_states = partly_detached(vlm.reference_states(formed[once], read), self.settings.segmentation_gradient)
            mapper, (queries, keys) = self.model.interface.mapper, self.model.asked(self.model.reading(read, reference_states), embeddings)
            confidence = mapper.confidences(queries)
            with torch.no_grad():
                heat = mapper.heat_maps(queries, keys)
                output = Segmentation(heat, confidence, self.model.masks(heat, embeddings, valid))
            masks = self._mask_rewards(output, targets, valid)[of.cpu().numpy()]
            supervised = {}
            if self.settings.segmentation.weight:
                pairs = self._matched(output, targets, valid)
                supervised = {"confidence": self.settings.segmentation.confidence * confidence_loss(confidence, pairs, counts)}
                supervised |= self._matched_losses(pairs, queries, keys, embeddings, targets, valid, counts)
        format_reward = answers.valid.astype(float)
        rewards = self._rewards(format_reward, masks, step)
        advantage, live = advantages(rewards, policy.advantages == "scaled"), live_groups(rewards)
        counted = np.repeat(live if policy.live_groups else np.ones_like(live), policy.group)
        losses, row = self._policy_losses(raw, last, answers, as_tensor(advantage).to(vlm.device), torch.from_numpy(counted).to(vlm.device))
        record = {"reward": rewards.mean(), "reward_format": format_reward.mean(), "reward_mask": masks.mean()}
        record |= {"reward_spread": _spread(rewards), "advantage_spread": _spread(advantage), "live_groups": live.mean()}
        record |= self._thoughts(answers, batch.gold)
        return losses | supervised, {name: float(value) for name, value in record.items()} | row

    def _rewards(self, format_reward: np.ndarray, masks: np.ndarray, step: int) -> np.ndarray:
        """Rewards [B, G] of rollouts [N] whose form holds or not and whose masks earn `masks`; permuted over them in the null twin."""
        policy = self.settings.policy
        earned = masks**policy.reward.mask_power * (format_reward if policy.reward.gated else 1.0)
        rewards = policy.reward.format * format_reward + policy.reward.mask * earned
        if policy.rewards == "permuted":
            rewards = self._permuted(rewards, step)
        return np.asarray(rewards.reshape(-1, policy.group))

    def _permuted(self, rewards: np.ndarray, step: int) -> np.ndarray:
        """This process's rewards [N] after a permutation over the rollouts of all processes."""
        own = slice(self.processes.rank * len(rewards), (self.processes.rank + 1) * len(rewards))
        everyone = np.zeros(self.processes.count * len(rewards))
        everyone[own] = rewards
        everyone = self.processes.total(torch.from_numpy(everyone).to(self.model.vlm.device)).cpu().numpy()
        return np.random.default_rng([self.seed, step]).permutation(everyone)[own]

    def _thoughts(self, answers: Answers, gold: list[str | None]) -> Row:
        """Shares of all rollouts: those whose thought is right, those that consider, and those whose truth is known."""
        wanted = [thought for thought in gold for _ in range(self.settings.policy.group)]
        texts = [self.model.vlm.text(ids) for ids in answers.rollouts.valid_ids]
        known = [(text, thought) for text, thought in zip(texts, wanted, strict=True) if thought is not None]
        right = sum(thought_is_right(text, thought) for text, thought in known)
        considered = sum(is_considered(text) for text, _ in known)
        shares = {"thought_accuracy": right, "considered": considered, "thought_known": len(known)}
        return {name: count / len(wanted) for name, count in shares.items()}

    def _averaged(self, row: Row) -> Row:
        values = torch.tensor(list(row.values()), dtype=torch.float64, device=self.model.vlm.device)
        self.processes.average([values])
        return dict(zip(row, values.tolist(), strict=True))

    @torch.no_grad()
    def _mask_rewards(self, output: Segmentation, targets: list[Tensor], valid: Tensor) -> np.ndarray:
        probabilities = output.mask_logits.sigmoid() * valid[:, None]
        chosen = output.confidence >= self.confidence_threshold
        return np.array([mask_reward(masks[slots], objects) for masks, slots, objects in zip(probabilities, chosen, targets, strict=True)])

    @torch.no_grad()
    def _matched(self, output: Segmentation, targets: list[Tensor], valid: Tensor) -> Tensor:
        """Pairs [n, 3] of sequence, slot and object."""
        seen = output.mask_logits.sigmoid() * valid[:, None]
        return matched_pairs(seen, self.settings.segmentation.match_confidence * output.confidence, targets)

    def _matched_losses(
        self, pairs: Tensor, queries: Tensor, keys: Tensor, embeddings: Tensor, targets: list[Tensor], valid: Tensor, counts: Tensor
    ) -> dict[str, Tensor]:
        """This process's losses of matched slots, scaled so that their mean over processes counts all slots alike."""
        index, slot, _ = pairs.unbind(1)
        weights = counts[index]
        total = float(self.processes.total(weights.sum()))
        if not len(pairs):
            return {}
        settings, where, truth = self.settings.segmentation, valid[index], objects_at(targets, pairs)
        heat = self.model.interface.mapper.heat_maps(queries[index, slot][:, None], keys[index])
        masks = self.model.masks(heat, embeddings[index], where)
        losses = heat_losses(heat[:, 0], truth, where, weights, settings) | mask_losses(masks[:, 0], truth, where, weights, settings)
        share = self.processes.count * float(weights.sum()) / total
        return {name: share * loss for name, loss in losses.items()}

    def _policy_losses(
        self, states: HookStates, last: Tensor, answers: Answers, advantage: Tensor, counted: Tensor
    ) -> tuple[dict[str, Tensor], Row]:
        """This process's losses; that of the policy is scaled so that its mean over processes counts all counted rollouts alike."""
        policy, vlm, mask = self.settings.policy, self.model.vlm, answers.rollouts.answer_mask
        with self.clock("reference"), torch.no_grad(), vlm.using(self.reference):
            reference = vlm.answer_log_probs(vlm.upper(states), states, policy.temperature)
        with self.clock("policy"):
            log_probs, old = vlm.answer_log_probs(last, states, policy.temperature), answers.rollouts.log_probs
            divergence = low_variance_kl(log_probs, reference, mask)
            losses = {"kl": policy.kl * divergence}
            if policy.weight:
                own = counted.sum().float()
                total = float(self.processes.total(own.clone()))
                share = self.processes.count * float(own) / total if total else 0.0
                losses["policy"] = policy.weight * share * policy_loss(log_probs, old, advantage, mask, policy.clip, counted)
        with torch.no_grad():
            row = {
                "kl_to_reference": float(divergence),
                "entropy": float(-token_mean(log_probs, mask)),
                "clip_fraction": float(clip_fraction(log_probs, old, mask, policy.clip)),
                "answer_tokens": float(mask.sum(1).float().mean()),
            }
        return losses, row


def partly_detached(values: Tensor, share: float) -> Tensor:
    """The same values, through which `share` of the gradient flows."""
    if share in (0.0, 1.0):
        return values if share else values.detach()
    return share * values + (1.0 - share) * values.detach()


def _spread(values: np.ndarray) -> float:
    """Mean over prompts of the standard deviation within a group: [B, G] -> scalar; 0 for groups of one."""
    return float(values.std(1, ddof=1).mean()) if values.shape[1] > 1 else 0.0


def _norm(parameters: list[nn.Parameter]) -> float:
    squares = [parameter.grad.square().sum() for parameter in parameters if parameter.grad is not None]
    return float(whole(torch.stack(squares).sum()).sqrt()) if squares else 0.0
