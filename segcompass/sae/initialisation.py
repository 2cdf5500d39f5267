"""Where training starts: the scale of activations and the decoder's bias, from the first buffer of tokens [n, d]."""

from torch import Tensor

WEISZFELD_STEPS = 50


def mean_norm_scale(x: Tensor) -> float:
    """The constant by which tokens are divided so that their mean norm is sqrt(d).

    Conerly et al., "Update on how we train SAEs" (Anthropic, 2024).
    """
    return float(x.norm(dim=1).mean() / x.shape[1] ** 0.5)


def geometric_median(x: Tensor) -> Tensor:
    """The point [d] whose summed distance to the tokens is least, by Weiszfeld's iteration.

    The decoder bias of Bricken et al., "Towards monosemanticity" (Anthropic, 2023): a few huge tokens do not move it.
    """
    centre = x.mean(0)
    for _ in range(WEISZFELD_STEPS):
        weights = 1 / (x - centre).norm(dim=1).clamp(min=1e-8)
        centre = (weights @ x) / weights.sum()
    return centre


def decoder_bias(x: Tensor, rule: str) -> Tensor:
    """b_dec [d] before training: `geometric_median`, `mean` (Gao et al., 2024, take the former, most libraries offer both) or `zero`."""
    match rule:
        case "geometric_median":
            return geometric_median(x)
        case "mean":
            return x.mean(0)
    return x.new_zeros(x.shape[1])
