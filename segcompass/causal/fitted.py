"""What the battery takes from a benchmark's val split, before any tested sample is seen."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from segcompass.causal.edits import MeanCodes, codes_of_samples
from segcompass.causal.units import principal_directions
from segcompass.joint.inference import Place
from segcompass.joint.model import InterfaceModel
from segcompass.joint.reading import Reading
from segcompass.joint.tokens import ConceptTokens, ReferenceTokens, WordTokens
from segcompass.sae.sparse_tokens import SparseTokens


@dataclass(frozen=True)
class Fitted:
    """Of the units that an interface reads; what others would need stays empty."""

    places: list[Place]
    """The val samples, of which donors are drawn."""
    means: Tensor = field(default_factory=lambda: torch.empty(0))
    """Mean codes by token type, [4, F]."""
    word: Tensor = field(default_factory=lambda: torch.empty(0))
    """Mean embedding of a thought's word, [q]."""
    mean_state: Tensor = field(default_factory=lambda: torch.empty(0))
    """Mean of centred reference states, [K, d]."""
    directions: Tensor = field(default_factory=lambda: torch.empty(0))
    """Their principal directions, [d, d]."""


@torch.no_grad()
def fit(model: InterfaceModel, places: list[Place], readings: Iterable[Reading]) -> Fitted:
    """Takes from the readings of val samples, in parts, what the interface's units need."""
    interface = model.interface
    match interface.codebook.tokens:
        case ConceptTokens() as tokens:
            means = MeanCodes(len(tokens.rows))
            for reading in readings:
                assert isinstance(reading.codes, SparseTokens)
                means.add(codes_of_samples(reading.codes, reading.token_types, tokens.threshold))
            return Fitted(places, means=means.means().to(tokens.rows))
        case WordTokens() as words:
            found = [words.words(reading.ids[reading.thought]) for reading in readings]
            return Fitted(places, word=torch.cat(found).mean(0))
        case ReferenceTokens():
            states = [interface.reference_centring(reading.reference_states[:, : interface.slots]) for reading in readings]
            mean, directions = principal_directions(torch.cat(states))
            return Fitted(places, mean_state=mean, directions=directions)
    raise AssertionError("an interface reads concepts, words or references")
