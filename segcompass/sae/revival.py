"""Losses that bring concepts back which have been silent for too long; each looks at the silent concepts' own rows alone."""

import torch
from torch import Tensor
from torch.nn import functional

from segcompass.sae.dictionary import Dictionary, squared_error


def silent_concepts(dictionary: Dictionary, tokens: int) -> Tensor:
    """Concepts, int64 [m], that were active on none of the last `tokens` training tokens."""
    return (dictionary.silent_for > tokens).nonzero()[:, 0]


def explained_residual(dictionary: Dictionary, x: Tensor, residual: Tensor, silent: Tensor) -> Tensor:
    """Squared error of the residual [T, d] as explained by the d / 2 silent concepts that tokens x [T, d] drive most.

    The auxiliary loss of Gao et al., "Scaling and evaluating sparse autoencoders" (2024), appendix A.2, for dictionaries that rank
    pre-activations: there silent concepts are driven, only not enough.
    """
    count = dictionary.concepts.count(silent)
    if not count:
        return residual.new_zeros(())
    before = x @ dictionary.W_enc_T[silent].T + dictionary.b_enc[silent]
    kept = dictionary.concepts.largest(before.detach(), min(dictionary.input_width // 2, count))
    codes = torch.zeros_like(before).flatten().scatter(0, kept, functional.relu(before.flatten().gather(0, kept))).view_as(before)
    return squared_error(residual, dictionary.concepts.summed(codes @ dictionary.W_dec[silent]))


def missing_drive(dictionary: Dictionary, x: Tensor, silent: Tensor, thresholds: Tensor) -> Tensor:
    """By how much silent concepts stay below their thresholds [m], weighted by decoder norm, summed over them, averaged over tokens [T, d].

    The pre-activation loss of Conerly et al., "Dictionary learning optimization techniques" (Anthropic, January 2025), for dictionaries
    with thresholds: there silent concepts have no other gradient.
    """
    if not len(silent):
        return dictionary.concepts.summed(x.new_zeros(()))
    before = x @ dictionary.W_enc_T[silent].T + dictionary.b_enc[silent]
    return dictionary.concepts.summed(((thresholds - before).relu() @ dictionary.W_dec[silent].norm(dim=1)).mean())
