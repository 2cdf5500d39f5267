"""The single-sample half of the causal battery on one run: which intervention runs on which samples, with what val samples give.

Samples of the test splits are edited. What is fitted, mean codes, donors, mean words and directions of reference states, comes from the
benchmark's val split. Words stay as they are. Interfaces that read no concepts have traceability and the sham, of their own units.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from segcompass.causal.attribution import attribution
from segcompass.causal.chunk import Chunk, Found
from segcompass.causal.composition import composition
from segcompass.causal.controls import weighed
from segcompass.causal.curve import curve
from segcompass.causal.dose import dose
from segcompass.causal.edits import Baseline, Mean, Resample, SampleCodes, Zero, codes_of_samples
from segcompass.causal.fitted import Fitted, fit
from segcompass.causal.measurements import Balance, Measurement
from segcompass.causal.sampling import cuts, round_images
from segcompass.causal.sham import sham
from segcompass.causal.tally import Tally
from segcompass.causal.traceability import traceability
from segcompass.causal.units import ConceptUnits, ReferenceUnits, Units, WordUnits
from segcompass.causal.watched import Watched
from segcompass.datasets.artefact import manifest
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import Sample, read_samples
from segcompass.datasets.splits import EVALUATION_SPLITS
from segcompass.joint.codebook import handicap
from segcompass.joint.inference import CachedThoughts, Place, Thoughts, leading_of
from segcompass.joint.reading import Reading, Shown
from segcompass.joint.tokens import ConceptTokens, ReferenceTokens, WordTokens
from segcompass.sae.sparse_tokens import SparseTokens
from segcompass.study.analysis import InterventionSettings

MIB = 2**20


class Battery:
    """Edits one run."""

    def __init__(self, thoughts: CachedThoughts, settings: InterventionSettings, threshold: float, batch: int, data: Path) -> None:
        """Edits nothing yet.

        Args:
            thoughts: of the evaluated samples, sparse.
            settings: the study's.
            threshold: on confidences.
            batch: samples at a time, fewer where their codes would be too large.
            data: artefact of prepare_data.
        """
        self.thoughts, self.model, self.settings, self.threshold, self.data = thoughts, thoughts.model, settings, threshold, data
        self.tokens = self.model.interface.codebook.tokens
        a_sample = 4 * self.model.dictionary.features * int(np.diff(thoughts.answers.starts).max())
        self.batch = max(1, min(batch, settings.codes_mib * MIB // a_sample))
        self.tallies = {name: Tally(name) for name in ("curve", "dose", "composition")}

    def measurements(self, benchmark: str) -> Iterator[Measurement]:
        """All measurements on the benchmark's chosen samples."""
        places = self._chosen(benchmark, self.settings.splits[benchmark], max(self._counts(), default=0), True)
        fitted = self._fitted(benchmark)
        number = list(EVALUATION_SPLITS).index(benchmark)
        for part in tqdm(cuts(len(places), self._counts(), self.batch), desc=benchmark, disable=None):
            own = [places[rank] for rank in part]
            keys = [(self.settings.seed, number, rank) for rank in part]
            for intervention, found in self._found(own, keys, fitted, part.start):
                for (_, split, sample), value in zip(own, found.values.tolist(), strict=True):
                    place = (benchmark, split, sample.sample_id, sample.image)
                    yield Measurement(intervention, found.arm, found.at, found.measure, *place, value)

    def balances(self) -> Iterator[Balance]:
        """Of everything that has been measured."""
        for tally in self.tallies.values():
            yield from tally.balances()

    def _counts(self) -> list[int]:
        settings = self.settings
        counts = [settings.traceability.samples, settings.sham]
        if isinstance(self.tokens, ConceptTokens):
            counts += [
                *settings.curve.samples.values(),
                min(settings.curve.grid, max(settings.curve.samples.values(), default=0)),
                settings.dose.samples,
                settings.composition.samples,
            ]
            counts += [settings.attribution.samples, settings.attribution.mask_samples]
        return counts

    def _chosen(self, benchmark: str, splits: Sequence[str], count: int, targets: bool) -> list[Place]:
        found = [(benchmark, split, sample) for split in splits for sample in read_samples(manifest(self.data, benchmark, split))]
        kept = [place for place in found if not targets or decode(place[2].target).any()]
        return round_images(kept, lambda place: place[2].image, count)

    def _fitted(self, benchmark: str) -> Fitted:
        places = self._chosen(benchmark, ["val"], self.settings.fitted, False)
        parts = (places[start : start + self.batch] for start in range(0, len(places), self.batch))
        return fit(self.model, places, (self.model.seen(self.thoughts.of_places(part).reading) for part in parts))

    def _found(self, places: list[Place], keys: Sequence[tuple[int, ...]], fitted: Fitted, rank: int) -> Iterator[tuple[str, Found]]:
        """Intervention and measures of the samples whose first has this rank."""
        settings = self.settings
        thoughts = self.thoughts.of_places(places)
        reading = self.model.seen(thoughts.reading)
        chunk, samples = self._chunk(thoughts, reading, [place[2] for place in places], keys, fitted)
        if rank < settings.sham:
            yield from (("sham", found) for found in sham(chunk))
        if rank < settings.traceability.samples:
            listed, sizes = settings.traceability.listed, settings.traceability.sizes
            yield from (("traceability", found) for found in traceability(chunk, listed, sizes, settings.steps))
        if not isinstance(chunk.units, ConceptUnits):
            return
        units = chunk.units
        attention = handicap(reading.read, reading.thought).exp()
        weights = [weighed(own, units.rows, weight) for own, weight in zip(samples, attention, strict=True)]
        for ablation, count in settings.curve.samples.items():
            if rank < count:
                baseline = self._baseline(ablation, samples, units.rows, fitted, keys)
                masks = settings.curve.masks
                fractions = settings.curve.fractions if rank < settings.curve.grid else masks
                found = curve(chunk, units, weights, ablation, baseline, fractions, masks, self.tallies["curve"])
                yield from (("curve", one) for one in found)
        if rank < settings.dose.samples:
            doses = settings.dose.concepts, settings.dose.doses
            yield from (("dose", found) for found in dose(chunk, units, weights, *doses, self.tallies["dose"]))
        if rank < settings.composition.samples:
            yield from (("composition", found) for found in composition(chunk, units, weights, self.tallies["composition"]))
        if rank < settings.attribution.samples:
            seen, ablated = rank < settings.attribution.mask_samples, settings.attribution.ablated
            yield from (("attribution", found) for found in attribution(chunk, units, ablated, settings.steps, seen))

    def _chunk(
        self, thoughts: Thoughts, reading: Reading, samples: Sequence[Sample], keys: Sequence[tuple[int, ...]], fitted: Fitted
    ) -> tuple[Chunk, list[SampleCodes]]:
        """The chunk, and its codes where concepts are read."""
        interface, codes = self.model.interface, []
        with torch.no_grad():
            if isinstance(self.tokens, ConceptTokens):
                codes = self._codes(reading)
                tokens = torch.stack([own.codes @ self.tokens.rows[own.concepts] for own in codes])
                references = interface.reference_centring(reading.reference_states[:, : interface.slots])
                shown = Shown(tokens, reading.read, reading.thought, references)
            else:
                shown = interface.shown(reading)
        watched = Watched(self.model, thoughts.embeddings, thoughts.valid, thoughts.sizes)
        whole = watched.fix([leading_of(own, self.threshold) for own in watched.confidences(shown)], shown)
        units = self._units(reading, codes, watched.owner, whole, fitted)
        return Chunk(units, watched, [decode(sample.target) for sample in samples], keys), codes

    @torch.no_grad()
    def _units(self, reading: Reading, codes: list[SampleCodes], owner: Tensor, whole: Shown, fitted: Fitted) -> Units:
        match self.tokens:
            case ConceptTokens():
                return ConceptUnits(self.tokens.rows, codes, owner.tolist(), whole)
            case WordTokens():
                rows = Reading(reading.codes, reading.token_types[owner], reading.ids[owner], reading.reference_states[owner])
                return WordUnits(self.tokens, fitted.word, rows, whole)
            case ReferenceTokens():
                return ReferenceUnits(self.tokens, fitted.mean_state, fitted.directions, whole)
        raise AssertionError(f"no units of {type(self.tokens).__name__}")

    def _codes(self, reading: Reading) -> list[SampleCodes]:
        assert isinstance(reading.codes, SparseTokens) and isinstance(self.tokens, ConceptTokens)
        return codes_of_samples(reading.codes, reading.token_types, self.tokens.threshold)

    def _baseline(
        self, ablation: str, samples: list[SampleCodes], rows: Tensor, fitted: Fitted, keys: Sequence[tuple[int, ...]]
    ) -> Baseline:
        match ablation:
            case "zero":
                return Zero(rows)
            case "mean":
                return Mean(fitted.means, rows, samples)
            case "resample":
                drawn = [int(np.random.default_rng([*key, 8]).integers(len(fitted.places))) for key in keys]
                donors = self.model.seen(self.thoughts.of_places([fitted.places[place] for place in drawn]).reading)
                return Resample(self._codes(donors), rows, samples)
        raise AssertionError(f"no such ablation: {ablation}")
