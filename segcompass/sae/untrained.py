"""Control: a random, untrained dictionary with as many active concepts as a trained one has, on every type of token.

Random directions are a strong baseline of many concept metrics: a metric that does not tell them from a trained dictionary says nothing
about training. Were L0 alike over all tokens only, thoughts could have fewer active concepts than the trained dictionary gives them and
images more, and what reads the codes would differ by that alone. A top-k dictionary's twin is top-k itself, with the same k on every
token; the twin of one with thresholds has thresholds that match each type's mean.
"""

from collections.abc import Mapping

import torch

from segcompass.activations.typed_sample import TypedSample
from segcompass.sae.density_matching import matched_thresholds
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.metrics import l0_by_type
from segcompass.sae.topk import TopKDictionary

RANKED_TOKENS = 2048
"""Tokens of each type by which thresholds are set; all tokens of the sample correct their mean."""
CORRECTIONS = 4


def untrained_twin(like: Dictionary, sample: TypedSample) -> Dictionary:
    """An untrained dictionary of the width and sparsity of a trained one, drawn from torch's seed, on the device of both."""
    device = sample.hidden.device  # directions are drawn on the CPU, so that they are the same everywhere
    if type(like) is TopKDictionary:  # not batch top-k, whose tokens differ in how many concepts they need
        twin: Dictionary = TopKDictionary(like.input_width, like.features, like.k).to(device)
        twin.start_at(sample.hidden, sample.weights @ sample.hidden)
    else:
        twin = UntrainedDictionary(like.input_width, like.features).to(device)
        twin.match_sparsity(sample, l0_by_type(like, sample))
    fit_scale(twin, sample)
    return twin


@torch.no_grad()
def fit_scale(dictionary: Dictionary, sample: TypedSample) -> None:
    """Multiplies the decoder by the one number that minimises the squared error, so that a control is not worse than it needs to be."""
    along, length = dictionary.b_dec.new_zeros(()), dictionary.b_dec.new_zeros(())
    for x, weights in zip(sample.hidden.split(RANKED_TOKENS), sample.weights.split(RANKED_TOKENS), strict=True):
        part = dictionary.encode(x) @ dictionary.W_dec
        along += weights @ (part * (x - dictionary.b_dec)).sum(1)
        length += weights @ part.square().sum(1)
    dictionary.W_dec.mul_(along / length.clamp(min=1e-12))


class UntrainedDictionary(JumpReluDictionary):
    """Random unit directions; a concept is active where its pre-activation exceeds its threshold."""

    @torch.no_grad()
    def match_sparsity(self, sample: TypedSample, l0: Mapping[int, float]) -> None:
        """Sets biases as of a centre at the tokens' mean, and thresholds so that tokens of each type have `l0` active concepts on average.

        Thresholds come from a part of the sample, whose means are off by what its tokens happen to be (a few tokens activate hundreds of
        random directions). So the numbers asked for are corrected by what thresholds give on the whole sample.
        """
        self.start_at(sample.hidden, sample.weights @ sample.hidden)
        part = sample.thinned(RANKED_TOKENS)
        drives, asked = self.pre_activations(part.hidden), dict(l0)
        for _ in range(CORRECTIONS):
            self.threshold.copy_(matched_thresholds(drives, part.types, asked))
            found = l0_by_type(self, sample)
            asked = {kind: asked[kind] * min(max(l0[kind] / max(found[kind], 1e-6), 0.5), 2.0) for kind in asked}
