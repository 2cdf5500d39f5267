"""Group-relative policy optimisation (paper section 2, stage 2): clipped ratio and low-variance KL, pure functions.

Departure from the paper: 1. groups whose rewards do not differ may be left out of the mean (study key `joint.policy.live_groups`): their
advantages are 0, and would only shrink the step (DAPO's dynamic sampling draws others in their place).
Rule on reference tokens: every sampled token counts, reference and end tokens included, because the format reward acts on them.
"""

from torch import Tensor


def sequence_means(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over each sequence's tokens: [N, A], bool [N, A] -> [N]."""
    return (values * mask).sum(1) / mask.sum(1).clamp(min=1)


def token_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over a sequence's tokens, then over sequences: [N, A], bool [N, A] -> scalar."""
    return sequence_means(values, mask).mean()


def policy_loss(log_probs: Tensor, old_log_probs: Tensor, advantage: Tensor, mask: Tensor, clip: float, counted: Tensor) -> Tensor:
    """-mean of min(r A, clip(r) A) with r = exp(new - old), over the sequences that are counted; 0 where none is.

    Args:
        log_probs: [N, A], of the policy that learns.
        old_log_probs: [N, A], of the policy that sampled.
        advantage: [N].
        mask: bool [N, A].
        clip: greatest distance of the ratio from 1 that earns anything.
        counted: bool [N].
    """
    ratio = (log_probs - old_log_probs).exp()
    weighted = (ratio * advantage[:, None]).minimum(ratio.clamp(1 - clip, 1 + clip) * advantage[:, None])
    return -(sequence_means(weighted, mask) * counted).sum() / counted.sum().clamp(min=1)


def low_variance_kl(log_probs: Tensor, reference_log_probs: Tensor, mask: Tensor) -> Tensor:
    """Mean of exp(ref - new) - (ref - new) - 1, which is never negative: [N, A] each -> scalar."""
    difference = reference_log_probs - log_probs
    return token_mean(difference.exp() - difference - 1, mask)


def clip_fraction(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Share of tokens whose ratio leaves 1 - clip … 1 + clip."""
    outside = ((log_probs - old_log_probs).exp() - 1).abs() > clip
    return token_mean(outside.float(), mask)
