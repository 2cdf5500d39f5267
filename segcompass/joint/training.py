"""Training of one interface on cached answers: codebook and slot mapper on heat maps, then all trained parts on masks too.

The policy never changes, so its answers, their codes, its reference states and SAM's embeddings are constants that every variant and seed
shares; what a run computes is the interface alone, and SAM's decoder.
Departure from the paper: 1. the paper trains the interface beside GRPO from the first step, over many thousands of prompts. Here it learns
first, by Muon, and joint training begins with it; a step costs a tenth of a step of joint training on as many prompts. In the first phase
SAM is not run and learns nothing. In both, slots are matched by their heat maps: decoding the masks of all slots to match them would cost a
quarter of the second phase. Only the maps of matched slots are made with gradient; the others' have no loss.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segcompass.joint.answer_codes import AnswerCodes
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.model import InterfaceModel
from segcompass.joint.reading import Reading
from segcompass.joint.supervision import confidence_loss, heat_losses, mask_losses, matched_pairs, objects_at
from segcompass.optimisation.order import EpochOrder
from segcompass.optimisation.phase import Losses, PhaseRecord, run_phase
from segcompass.study.interface import InterfacePhase, InterfaceSettings

STATISTICS_ANSWERS = 512
"""Cached answers that centring and whitening are fitted on."""


def fit_statistics(interface: ConceptInterface, answers: CachedAnswers, images: CachedImages) -> None:
    """Fits centring, of the reference states that are read, and whitening on the first cached answers."""
    rows = range(min(STATISTICS_ANSWERS, len(answers)))
    interface.reference_centring.fit(answers.reference_states(rows)[:, : interface.slots].flatten(0, 1))
    embeddings, _ = images.of([answers.owners[row].image for row in rows])
    interface.mapper.embedding_whitening.fit(embeddings.movedim(1, -1).flatten(0, -2))


class InterfaceTraining:
    """The training of one variant with one seed."""

    def __init__(self, model: InterfaceModel, answers: CachedAnswers, images: CachedImages, settings: InterfaceSettings, seed: int) -> None:
        self.model, self.answers, self.images, self.settings = model, answers, images, settings
        self.codes = AnswerCodes(answers, model.dictionary)
        self.order = EpochOrder(len(answers), seed)
        order = np.arange(len(answers))
        self._taught = order if settings.training.targets == "own" else np.random.default_rng(seed).permutation(order)

    def run(self, resume: Path) -> list[PhaseRecord]:
        """Trains from the last resume points on; a phase without steps is left out."""
        training, records = self.settings.training, []
        first = training.heat_maps.steps * training.heat_maps.batch
        for name, phase, start in (("heat_maps", training.heat_maps, 0), ("masks", training.masks, first)):
            if phase.steps:
                parts = nn.ModuleList([self.model.interface]) if name == "heat_maps" else self.model
                records.append(run_phase(name, phase, parts, self.losses(phase, start, name == "masks"), resume, training.checkpoint_every))
        return records

    def taught(self, row: int) -> str:
        """The sample whose objects the answer at `row` is taught."""
        return self.answers.owners[self._taught[row]].sample_id

    def losses(self, phase: InterfacePhase, start: int, masks: bool) -> Losses:
        """Step of a phase -> named, weighted losses of its answers; `start` is how many answers the run took before the phase."""

        def of_step(step: int) -> dict[str, Tensor]:
            first = start + step * phase.batch
            return self.batch_losses([self.order.at(position) for position in range(first, first + phase.batch)], masks)

        return of_step

    def batch_losses(self, rows: list[int], masks: bool) -> dict[str, Tensor]:
        """Named, weighted losses of the answers at `rows`, whose sum is minimised; those of masks where `masks` is true."""
        settings, model = self.settings.segmentation, self.model
        batch = self.answers.batch(rows)
        owners = [self.answers.owners[row] for row in rows]
        embeddings, valid = self.images.of([owner.image for owner in owners])
        targets = [self.images.targets(self.taught(row)) for row in rows]
        reading = Reading(self.codes.of(batch), batch.token_types, batch.ids, batch.reference_states)
        mapper, (queries, keys) = model.interface.mapper, model.asked(reading, embeddings)
        confidence = mapper.confidences(queries)
        with torch.no_grad():
            seen = mapper.heat_maps(queries, keys).sigmoid() * valid[:, None]
            pairs = matched_pairs(seen, settings.match_confidence * confidence.sigmoid(), targets)
        each = confidence.new_ones(len(confidence))
        losses = {"confidence": settings.confidence * confidence_loss(confidence, pairs, each)}
        if len(pairs):
            index, slot, _ = pairs.unbind(1)
            truth, where = objects_at(targets, pairs), valid[index]
            heat = mapper.heat_maps(queries[index, slot][:, None], keys[index])
            losses |= heat_losses(heat[:, 0], truth, where, each[index], settings)
            if masks:
                decoded = model.masks(heat, embeddings[index], where)[:, 0]
                losses |= mask_losses(decoded, truth, where, each[index], settings)
        return losses
