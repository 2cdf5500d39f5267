"""Warm-up of the concept interface on cached answers of the base policy, before joint training.

Departure from the paper: 1. the paper trains the interface beside GRPO from the first step, over many thousands of prompts. Below the hook
nothing ever changes, and before the first step neither does anything above it, so answers, their hidden states, reference states and image
embeddings of the base policy are computed once per study (stage `cache_answers`) and shared by every variant and seed; a step of warm-up
costs a tenth of a step of joint training on as many prompts. Heat maps and confidences learn here from the losses of joint training, by
Muon; slots are matched by their heat maps, and SAM, which is not run, learns nothing. A run without segmentation losses has no warm-up.
"""

from pathlib import Path

from torch import Tensor

from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.model import JointModel
from segcompass.joint.supervision import confidence_loss, heat_losses, matched_pairs, objects_at
from segcompass.optimisation.order import EpochOrder
from segcompass.optimisation.phase import PhaseRecord, run_phase
from segcompass.study.joint import JointSettings

STATISTICS_ANSWERS = 512
"""Cached answers that centring and whitening are fitted on."""


def fit_statistics(interface: ConceptInterface, answers: CachedAnswers) -> None:
    """Fits the slot mapper's centring and whitening on the first cached answers."""
    reference_states, embeddings = answers.features(range(min(STATISTICS_ANSWERS, len(answers))))
    interface.mapper.reference_centring.fit(reference_states.flatten(0, 1))
    interface.mapper.embedding_whitening.fit(embeddings.movedim(1, -1).flatten(0, -2))


class WarmUp:
    """The warm-up of one variant with one seed."""

    def __init__(self, model: JointModel, answers: CachedAnswers, settings: JointSettings, seed: int) -> None:
        self.model, self.answers, self.settings = model, answers, settings
        self.order = EpochOrder(len(answers), seed)

    def run(self, resume: Path) -> PhaseRecord:
        """Trains codebook and slot mapper from the last resume point on."""
        settings = self.settings
        return run_phase("warm_up", settings.warm_up, self.model.interface, self.losses, resume, settings.checkpoint_every)

    def losses(self, step: int) -> dict[str, Tensor]:
        """Named, weighted losses of a step's answers, whose sum is minimised."""
        settings, model = self.settings.segmentation, self.model
        batch = self.answers.batch(self._rows(step))
        codes = model.codes_of(batch.hidden, batch.token_types)
        heat, confidence = model.read_tokens(codes, batch.token_types, batch.reference_states, batch.embeddings)
        preference = settings.match_confidence * confidence.detach().sigmoid()
        pairs = matched_pairs(heat.detach().sigmoid() * batch.valid[:, None], preference, batch.targets)
        each = heat.new_ones(len(heat))
        losses = {"confidence": settings.confidence * confidence_loss(confidence, pairs, each)}
        if len(pairs):
            index, slot, _ = pairs.unbind(1)
            truth = objects_at(batch.targets, pairs)
            losses |= heat_losses(heat[index, slot], truth, batch.valid[index], each[index], settings)
        return losses

    def _rows(self, step: int) -> list[int]:
        """Places of a step's answers."""
        size = self.settings.warm_up.batch
        return [self.order.at(position) for position in range(step * size, (step + 1) * size)]
