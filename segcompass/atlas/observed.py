"""A trained interface with the samples that a page shows or measures on: units that can be edited, and slots that respond.

Only interfaces that read concepts can be observed. Words stay as they are; the slots that are compared are fixed before the edit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from segcompass.causal.chunk import Chunk
from segcompass.causal.edits import SampleCodes, codes_of_samples
from segcompass.causal.sampling import round_images
from segcompass.causal.units import ConceptUnits
from segcompass.causal.watched import Watched
from segcompass.datasets.artefact import manifest
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import read_samples
from segcompass.joint.inference import CachedThoughts, Place, Segmenting, Thoughts, leading_of
from segcompass.joint.model import Segmentation
from segcompass.joint.reading import Reading, Shown
from segcompass.joint.tokens import ConceptTokens
from segcompass.sae.sparse_tokens import SparseTokens


class Observed:
    """Some samples before any edit."""

    def __init__(self, thoughts: CachedThoughts, places: Sequence[Place], threshold: float) -> None:
        """Reads the samples.

        Args:
            thoughts: of the evaluated samples, sparse.
            places: benchmark, split and sample of each.
            threshold: on confidences.
        """
        self.places, model = places, thoughts.model
        interface, tokens = model.interface, model.interface.codebook.tokens
        assert isinstance(tokens, ConceptTokens)
        self.thoughts: Thoughts = thoughts.of_places(places)
        self.reading: Reading = model.seen(self.thoughts.reading)
        assert isinstance(self.reading.codes, SparseTokens)
        with torch.no_grad():
            self.codes: list[SampleCodes] = codes_of_samples(self.reading.codes, self.reading.token_types, tokens.threshold)
            read = torch.stack([own.codes @ tokens.rows[own.concepts] for own in self.codes])
            references = interface.reference_centring(self.reading.reference_states[:, : interface.slots])
            shown = Shown(read, self.reading.read, self.reading.thought, references)
        self.watched = Watched(model, self.thoughts.embeddings, self.thoughts.valid, self.thoughts.sizes)
        self.slots = [leading_of(own, threshold) for own in self.watched.confidences(shown)]
        """Of each sample: the confident ones or, where there is none, the most confident one."""
        whole = self.watched.fix(self.slots, shown)
        self.units = ConceptUnits(tokens.rows.detach(), self.codes, self.watched.owner.tolist(), whole)
        self.targets = [decode(sample.target) for _, _, sample in places]
        self.chunk = Chunk(self.units, self.watched, self.targets, [()] * len(places))
        self._segmenting = Segmenting(model, threshold)

    @torch.no_grad()
    def segmented(self) -> Segmentation:
        """Maps of all slots of the samples."""
        return self._segmenting.segment(self.thoughts, self.reading.codes)


def targeted(data: Path, splits: Mapping[str, Sequence[str]], count: int) -> list[Place]:
    """Of every benchmark `count` samples that have a target, spread over as many images as there are."""
    chosen: list[Place] = []
    for benchmark, names in splits.items():
        every = [(benchmark, split, sample) for split in names for sample in read_samples(manifest(data, benchmark, split))]
        chosen += round_images([place for place in every if decode(place[2].target).any()], lambda place: place[2].image, count)
    return chosen


def in_turn(data: Path, splits: Mapping[str, Sequence[str]], count: int) -> list[Place]:
    """The first sample of every split, then of every split the first one of its second image, and so on, until there are `count`.

    Nothing is chosen by what a run makes of it. A picture is shown once.
    """
    lists = [
        round_images(
            [(benchmark, split, sample) for sample in read_samples(manifest(data, benchmark, split))], lambda place: place[2].image, count
        )
        for benchmark, names in splits.items()
        for split in names
    ]
    chosen: list[Place] = []
    seen: set[str] = set()
    for rank in range(count):
        for places in lists:
            if rank < len(places) and len(chosen) < count and places[rank][2].image not in seen:
                chosen.append(places[rank])
                seen.add(places[rank][2].image)
    return chosen
