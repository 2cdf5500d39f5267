"""The models of the two experiments, with what is frozen and what is trained (paper section 2).

`InterfaceModel` reads answers that are given: dictionary, concept interface and SAM. `JointModel` adds the policy that writes them.
Frozen: everything of the vision-language model up to the hook, the dictionary, SAM's image encoder and positional codes. Trained: codebook,
slot mapper, SAM's mask prompt encoder and mask decoder, and in joint training the blocks above the hook with norm and head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segcompass.backbone.interface import HookStates, Segmenter, VisionLanguageModel
from segcompass.backbone.token_types import OTHER
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.reading import Codes, Policy, Reading
from segcompass.optimisation.division import divide
from segcompass.optimisation.processes import Processes
from segcompass.sae.dictionary import Dictionary
from segcompass.study.interface import ModelSettings
from segcompass.study.joint import LearningRates

PADDING_LOGIT = -50.0
"""Heat-map logit of the padding region before it prompts SAM."""


@dataclass(frozen=True)
class Segmentation:
    """Output for K slots: heat-map logits [N, K, m, m], confidence logits [N, K], mask logits [N, K, m, m]."""

    heat: Tensor
    confidence_logits: Tensor
    mask_logits: Tensor

    @property
    def confidence(self) -> Tensor:
        """Confidence probabilities [N, K]; thresholds apply to these, never to logits."""
        return self.confidence_logits.sigmoid()


class InterfaceModel(nn.Module):
    """Everything behind the policy: answers that are read become masks."""

    def __init__(self, segmenter: Segmenter, dictionary: Dictionary, settings: ModelSettings, policy: Policy) -> None:
        """An untrained interface between a dictionary and SAM, for the answers of a policy."""
        super().__init__()
        self.segmenter, self.dictionary, self.settings, self.policy = segmenter, dictionary, settings, policy
        self.interface = ConceptInterface(settings, dictionary.W_dec.detach(), segmenter.channels, policy)
        dictionary.requires_grad_(False)
        segmenter.requires_grad_(False)
        for parameter in (*segmenter.prompt_parameters(), *segmenter.decoder_parameters()):
            parameter.requires_grad_(True)

    def trained(self) -> dict[str, nn.Parameter]:
        """Trained parameters by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """Everything of a run that does not come from backbone or dictionary, by name: what a checkpoint holds."""
        fitted = {name: value for name, value in self.named_buffers() if name.startswith("interface.")}
        return {**self.trained(), **fitted}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Trained parameters by the names of their learning rates."""
        return {
            "codebook": [parameter for name, parameter in self.interface.named_parameters() if name.startswith("codebook.")],
            "mapper": [parameter for name, parameter in self.interface.named_parameters() if name.startswith("mapper.")],
            "prompt_encoder": self.segmenter.prompt_parameters(),
            "mask_decoder": self.segmenter.decoder_parameters(),
        }

    @torch.no_grad()
    def codes_of(self, hidden: Tensor, token_types: Tensor) -> Tensor:
        """Codes [N, T, F] of hidden states [N, T, d] with types [N, T]; zero on tokens of no type."""
        return self.dictionary.encode(hidden.float()) * (token_types != OTHER)[..., None]

    def read(self, reading: Reading, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-map logits [N, K, m, m] and confidence logits [N, K] from image embeddings [N, C, g, g]."""
        heat, confidence = self.interface(self.seen(reading), embeddings)
        return heat, confidence

    def asked(self, reading: Reading, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """The slot mapper's queries [N, K, H * c] and keys [N, H, c, g, g], from which any slot's map is made by itself."""
        return self.interface.queries(self.interface.shown(self.seen(reading))), self.interface.mapper.keys(embeddings)

    def seen(self, reading: Reading) -> Reading:
        """Of a reading, what this interface is shown."""
        return reading if self.settings.thought_codes else reading.without_thought()

    def segment(self, reading: Reading, embeddings: Tensor, valid: Tensor) -> Segmentation:
        """Heat maps, confidences and masks of all slots in one batch; `valid`, bool [N, m, m], is the images' part of the maps."""
        heat, confidence = self.read(reading, embeddings)
        return Segmentation(heat, confidence, self.masks(heat, embeddings, valid))

    def masks(self, heat: Tensor, embeddings: Tensor, valid: Tensor) -> Tensor:
        """Mask logits [n, k, m, m] from heat-map logits [n, k, m, m], embeddings [n, C, g, g] and `valid`, bool [n, m, m]."""
        return self.segmenter.decode(embeddings, torch.where(valid[:, None], heat, PADDING_LOGIT))


class JointModel(InterfaceModel):
    """All parts of one variant of joint training."""

    def __init__(
        self, vlm: VisionLanguageModel, segmenter: Segmenter, dictionary: Dictionary, settings: ModelSettings, longest: int
    ) -> None:
        """See `InterfaceModel`; the policy, which thinks at most `longest` tokens, is frozen up to the dictionary's layer."""
        super().__init__(segmenter, dictionary, settings, Policy(vlm.vocabulary, vlm.special.slots, longest))
        self.vlm = vlm
        vlm.freeze_up_to(dictionary.hook_layer)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """See `InterfaceModel.parts`."""
        return {"language": [parameter for parameter in self.vlm.parameters() if parameter.requires_grad]} | super().parts()

    def optimiser(self, rates: LearningRates) -> torch.optim.AdamW:
        """AdamW with one group a part; `peak` in each group is its learning rate before the schedule."""
        peaks = rates.model_dump()
        parts = {name: parameters for name, parameters in self.parts().items() if parameters}
        groups = [{"params": parameters, "lr": peaks[name], "peak": peaks[name], "name": name} for name, parameters in parts.items()]
        return torch.optim.AdamW(groups, weight_decay=0.0)

    def divide(self, processes: Processes) -> nn.Module:
        """Divides the policy among processes, which hold it on the processor until then, and moves the other parts to their device whole.

        Dictionary, interface and SAM are a few GB at the paper's size, and run only for what is new to a process.

        Returns:
            The reference policy, a copy of the policy as it stands, divided too.
        """
        reference = self.vlm.reference_copy()
        divide(self.vlm.units(), processes)
        divide(self.vlm.units(reference), processes)
        self.vlm.anywhere = processes.anywhere
        self.to(processes.device)
        return reference

    def reading(self, states: HookStates, reference_states: Tensor, codes: Codes | None = None) -> Reading:
        """What the interface reads of sequences, with their own codes or with given ones."""
        shown = self.codes_of(states.hidden, states.token_types) if codes is None else codes
        return Reading(shown, states.token_types, states.ids, reference_states)
