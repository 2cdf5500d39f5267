"""One step of joint training written plainly, as the paper's release does it: the yardstick for the trainer's losses and for its speed.

Sampling is transformers' `generate` over every prompt repeated G times. Then the repeated prompts, images included, run through the whole
language model twice, once for the policy's log-probabilities and once more, with `output_hidden_states`, for the states at the hook and of
the reference tokens, and a third time through a second whole model, the reference. Codes are dense on every token, the codebook is a
dense product, slots are decoded one after the other, and losses are means over single masks. Shared with the trainer are pure functions
that have tests of their own: policy loss and KL, mask reward, matching, the form of answers. Of the interfaces only the paper's is written
here, not the variants that cut it; of the policy's keys all but the null twin of permuted rewards.

Shape letters: B prompts, G rollouts a prompt, N = B * G, P prompt tokens, A answer tokens, T = P + A, K slots, F concepts, q query width,
d width of the language model, V vocabulary, C channels and g side of the image embedding, H heads of the slot mapper, m side of masks.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from segcompass.backbone.interface import Prompts
from segcompass.backbone.prompt import canonical, status_of
from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.split import SplitModel
from segcompass.joint.batches import Batch
from segcompass.joint.codebook import PROMPT_LOGIT, QuerySlots
from segcompass.joint.grpo import low_variance_kl, policy_loss
from segcompass.joint.matching import match, soft_iou
from segcompass.joint.model import PADDING_LOGIT, JointModel, Segmentation
from segcompass.joint.rewards import mask_reward
from segcompass.joint.tokens import ConceptTokens
from segcompass.study.joint import JointSettings


@dataclass(frozen=True)
class Sampled:
    """N answers, prompt-major, padded behind their ends."""

    ids: Tensor
    """int64 [N, A]."""
    mask: Tensor
    """bool [N, A], true up to and including the end of the sequence."""
    log_probs: Tensor
    """float32 [N, A], of each token when it was drawn; 0 on padding."""


class PlainTrainer:
    """Losses of a joint model with the paper's interface."""

    def __init__(self, model: JointModel, settings: JointSettings, longest: int, confidence_threshold: float) -> None:
        assert isinstance(model.vlm, SplitModel) and isinstance(model.segmenter, SamSegmenter)
        tokens, slots = model.interface.codebook.tokens, model.interface.codebook.slots
        assert isinstance(tokens, ConceptTokens) and isinstance(slots, QuerySlots) and settings.policy.rewards == "own"
        self.vlm, self.sam, self.dictionary = model.vlm, model.segmenter.model, model.dictionary
        self.tokens, self.slots, self.mapper = tokens, slots, model.interface.mapper
        self.centring, self.parts = model.interface.reference_centring, model.parts()
        self.settings, self.longest, self.confidence_threshold = settings, longest, confidence_threshold
        self.reference = copy.deepcopy(model.vlm.model).requires_grad_(False)

    def repeated_prompts(self, batch: Batch) -> Prompts:
        """Every prompt with its image, G times."""
        prompts, group = self.vlm.prompts(batch.images, batch.texts), self.settings.policy.group
        pixels = {"pixel_values": prompts.vision_inputs["pixel_values"].repeat_interleave(group, 0)}
        ids, mask, types, positions = (
            part.repeat_interleave(group, 0) for part in (prompts.ids, prompts.mask, prompts.token_types, prompts.positions)
        )
        return Prompts(ids, mask, types, positions, pixels)

    @torch.no_grad()
    def sample(self, prompts: Prompts, seed: int) -> Sampled:
        """One answer to each of N prompts."""
        torch.manual_seed(seed)
        temperature = self.settings.policy.temperature
        output = self.vlm.model.generate(
            input_ids=prompts.ids,
            attention_mask=prompts.mask.long(),
            pixel_values=prompts.vision_inputs["pixel_values"],
            max_new_tokens=self.longest,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            pad_token_id=self.vlm.pad_id,
            eos_token_id=self.vlm.end_id,
            output_logits=True,
            return_dict_in_generate=True,
        )
        ids = output.sequences[:, prompts.ids.shape[1] :]
        ended = (ids == self.vlm.end_id).cumsum(1)
        mask = (ended == 0) | ((ended == 1) & (ids == self.vlm.end_id))
        return Sampled(ids, mask, token_log_probs(torch.stack(output.logits, 1), ids, temperature) * mask)

    def losses(self, batch: Batch, prompts: Prompts, sampled: Sampled) -> dict[str, Tensor]:
        """Named, weighted losses of a batch and answers to its N repeated prompts; their sum is minimised."""
        policy = self.settings.policy
        log_probs = self.log_probs(self.vlm.model, prompts, sampled)
        with torch.no_grad():
            reference = self.log_probs(self.reference, prompts, sampled)
        well_formed, formed, formed_mask = self.formed(sampled)
        states = self.states(prompts, formed, formed_mask)
        embeddings, valid = (part.repeat_interleave(policy.group, 0) for part in (batch.embeddings, batch.valid))
        output = self.segment(prompts, formed, states, embeddings, valid)

        targets = [objects for objects in batch.targets for _ in range(policy.group)]
        rewards = self.rewards(well_formed, self.mask_rewards(output, targets, valid))
        found = {"kl": policy.kl * low_variance_kl(log_probs, reference, sampled.mask)} | self.segmentation_losses(output, targets, valid)
        if policy.weight:
            advantage, rows = self.advantages(rewards)
            parts = (part[rows] for part in (log_probs, sampled.log_probs, advantage, sampled.mask))
            found["policy"] = policy.weight * policy_loss(*parts, policy.clip, torch.ones(len(rows), dtype=torch.bool))
        return found

    def rewards(self, well_formed: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Rewards [N] of answers that are well-formed or not, float [N], and whose masks earn `masks` [N]."""
        reward = self.settings.policy.reward
        earned = [0.0 if reward.gated and not ok else mask**reward.mask_power for ok, mask in zip(well_formed, masks, strict=True)]
        return np.array([reward.format * ok + reward.mask * mask for ok, mask in zip(well_formed, earned, strict=True)])

    def advantages(self, rewards: np.ndarray) -> tuple[Tensor, Tensor]:
        """Advantages [N] of rewards [N], and the rollouts that the policy's loss is a mean over, int64 [n]."""
        policy = self.settings.policy
        found, rows = [], []
        for start in range(0, len(rewards), policy.group):
            own = rewards[start : start + policy.group]
            spread = own.std(ddof=1) if policy.group > 1 else 0.0
            if policy.advantages == "centred":
                found += list(own - own.mean())
            else:
                found += list((own - own.mean()) / (spread + 1e-4) if spread > 1e-6 else 0 * own)
            if not policy.live_groups or own.max() - own.min() > 1e-6:
                rows += list(range(start, start + policy.group))
        return torch.tensor(found, dtype=torch.float32), torch.tensor(rows, dtype=torch.long)

    @torch.no_grad()
    def clip_gradients(self) -> None:
        """Scales the policy's gradients, and those of the rest together, down to their greatest norms."""
        norms = self.settings.clip_norm
        others = [parameter for name, part in self.parts.items() if name != "language" for parameter in part]
        for parameters, greatest in ((self.parts["language"], norms.language), (others, norms.others)):
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm()) if gradients else 0.0
            for gradient in gradients:
                gradient *= min(1.0, greatest / (norm + 1e-6))

    def log_probs(self, model: Any, prompts: Prompts, sampled: Sampled) -> Tensor:
        """Log-probabilities [N, A] of answers under the policy or the reference."""
        logits = full_pass(model, prompts, sampled.ids, sampled.mask).logits
        return token_log_probs(logits[:, prompts.ids.shape[1] - 1 : -1], sampled.ids, self.settings.policy.temperature)

    def states(self, prompts: Prompts, answers: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Hidden states [N, T, d] of the embeddings and behind every block of the policy; the last ones have passed the final norm."""
        return full_pass(self.vlm.model, prompts, answers, mask, output_hidden_states=True).hidden_states

    def formed(self, sampled: Sampled) -> tuple[np.ndarray, Tensor, Tensor]:
        """Which answers keep the form, float [N]; and answers that all do, int64 and bool [N, A']."""
        answers = [ids[mask].tolist() for ids, mask in zip(sampled.ids, sampled.mask, strict=True)]
        well_formed = np.array([float(status_of(ids, self.vlm.special) == "ok") for ids in answers])
        formed = [ids if ok else canonical(ids, self.vlm.special) for ids, ok in zip(answers, well_formed, strict=True)]
        padded = torch.full((len(formed), max(map(len, formed))), self.vlm.pad_id)
        mask = torch.zeros(padded.shape, dtype=torch.bool)
        for index, ids in enumerate(formed):
            padded[index, : len(ids)] = torch.tensor(ids)
            mask[index, : len(ids)] = True
        return well_formed, padded, mask

    def segment(self, prompts: Prompts, formed: Tensor, states: tuple[Tensor, ...], embeddings: Tensor, valid: Tensor) -> Segmentation:
        """Heat maps, confidences and masks.

        Args:
            prompts: N of them.
            formed: well-formed answers [N, A].
            states: what `states` gives for them.
            embeddings: [N, C, g, g].
            valid: bool [N, m, m].
        """
        answers_from = prompts.ids.shape[1]
        read = torch.cat([prompts.mask, (formed == self.vlm.think_close_id).cumsum(1) == 0], 1)
        read[:, answers_from:] |= formed == self.vlm.think_close_id
        with torch.no_grad():
            codes = self.dictionary.encode(states[self.vlm.hook_layer])
        tokens = (codes * (codes.abs() >= self.tokens.threshold)) @ self.tokens.rows
        queries = self.slots.queries.expand(len(tokens), -1, -1)
        logits = torch.zeros(len(tokens), queries.shape[1] + read.shape[1])
        logits[:, queries.shape[1] : queries.shape[1] + answers_from] = PROMPT_LOGIT
        logits[:, queries.shape[1] :][~read] = -torch.inf
        slots = self.slots.encoder(torch.cat([queries, tokens], 1), src_key_padding_mask=logits)[:, : queries.shape[1]]
        reference_states = states[-1][:, answers_from:][formed == self.vlm.reference_id].view(len(tokens), self.vlm.special.slots, -1)
        reference_states.register_hook(lambda gradient: self.settings.segmentation_gradient * gradient)
        parts = [self.one_slot(slots[:, k], reference_states[:, k], embeddings, valid) for k in range(slots.shape[1])]
        heat, confidence, masks = (torch.stack(part, 1) for part in zip(*parts, strict=True))
        return Segmentation(heat, confidence, masks)

    def one_slot(self, slot: Tensor, reference_state: Tensor, embeddings: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Heat-map logits [N, m, m], confidence logits [N] and mask logits [N, m, m] of one slot [N, q] and its r_k [N, d]."""
        mapper = self.mapper
        fused = mapper.fuse(torch.cat([mapper.slot(slot), self.centring(reference_state)], -1))
        query = fused.view(len(fused), mapper.heads, mapper.head_width, 1, 1)
        keys = mapper.image(mapper.embedding_whitening(embeddings.movedim(1, -1)).movedim(-1, 1)).unflatten(
            1, (mapper.heads, mapper.head_width)
        )
        scores = (query * keys).sum(2) / mapper.head_width**0.5
        heat = functional.interpolate(mapper.heat(scores), scale_factor=4, mode="bilinear", align_corners=False)
        prompt = torch.where(valid[:, None], heat, PADDING_LOGIT)
        masks = self.sam(image_embeddings=embeddings, input_masks=prompt, multimask_output=False).pred_masks
        return heat[:, 0], mapper.confidence(fused)[:, 0], masks[:, 0, 0]

    @torch.no_grad()
    def mask_rewards(self, output: Segmentation, targets: list[Tensor], valid: Tensor) -> np.ndarray:
        """Mask reward [N] of the confident slots."""
        rewards = []
        for index, objects in enumerate(targets):
            confident = output.confidence[index] >= self.confidence_threshold
            rewards.append(mask_reward((output.mask_logits[index].sigmoid() * valid[index])[confident], objects))
        return np.array(rewards)

    def segmentation_losses(self, output: Segmentation, targets: list[Tensor], valid: Tensor) -> dict[str, Tensor]:
        """Weighted losses of the slots that are matched to objects, and of all confidences."""
        weights = self.settings.segmentation
        matched = torch.zeros_like(output.confidence_logits)
        found: dict[str, list[Tensor]] = {"heat_bce": [], "heat_dice": [], "mask_dice": [], "mask_focal": []}
        for index, objects in enumerate(targets):
            if not len(objects):
                continue
            probabilities = output.mask_logits[index].detach().sigmoid() * valid[index]
            preference = weights.match_confidence * output.confidence[index].detach()
            for slot, item in match((soft_iou(probabilities, objects) + preference[:, None]).double().numpy()):
                matched[index, slot] = 1.0
                seen = valid[index]
                heat, mask, truth = output.heat[index, slot][seen], output.mask_logits[index, slot][seen], objects[item][seen]
                found["heat_bce"].append(functional.binary_cross_entropy_with_logits(heat, truth))
                found["heat_dice"].append(dice(heat, truth))
                found["mask_dice"].append(dice(mask, truth))
                found["mask_focal"].append(focal(mask, (truth > 0.5).float()))
        confidence = weights.confidence * functional.binary_cross_entropy_with_logits(output.confidence_logits, matched)
        means = {name: weights.weight * getattr(weights, name) * torch.stack(parts).mean() for name, parts in found.items() if parts}
        return {"confidence": confidence} | means


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice loss of one mask's valid pixels [n]."""
    probability = logits.sigmoid()
    return 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)


def focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean focal loss of one mask's valid pixels [n], `truth` 0 or 1 (Lin et al., 2017: alpha 0.25, gamma 2)."""
    probability = logits.sigmoid()
    right = torch.where(truth == 1, probability, 1 - probability)
    alpha = torch.where(truth == 1, 0.25, 0.75)
    return (alpha * (1 - right).square() * functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")).mean()


def full_pass(model: Any, prompts: Prompts, answers: Tensor, mask: Tensor, **options: Any) -> Any:
    """Output of a whole model of transformers, vision tower included, for N prompts followed by answers [N, A]."""
    # Embedded here, since transformers takes an image token that a policy drew by chance for the place of another picture.
    embed, features = model.get_input_embeddings(), model.get_image_features(**prompts.vision_inputs).pooler_output
    places = (prompts.ids == model.config.image_token_id)[..., None]
    embedded = torch.cat([embed(prompts.ids).masked_scatter(places, torch.cat(list(features))), embed(answers)], 1)
    attention = torch.cat([prompts.mask, mask], 1).long()
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    return model(inputs_embeds=embedded, attention_mask=attention, position_ids=positions, use_cache=False, **options)


def token_log_probs(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Log-probabilities [N, A] of tokens [N, A] under logits [N, A, V]."""
    return torch.log_softmax(logits.float() / temperature, -1).gather(2, ids[..., None])[..., 0]
