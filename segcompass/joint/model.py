"""The joint model: policy, dictionary, concept interface and SAM, with what is frozen and what is trained (paper section 2).

Frozen: everything of the vision-language model up to the hook, the dictionary, SAM's image encoder and positional codes. Trained: the
blocks above the hook with norm and head, codebook, slot mapper, SAM's mask prompt encoder and mask decoder.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segcompass.backbone.interface import OTHER, THOUGHT, HookStates, Segmenter, VisionLanguageModel
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.text_readout import TextReadout
from segcompass.sae.dictionary import Dictionary
from segcompass.study.joint import InterfaceSettings, LearningRates

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


class JointModel(nn.Module):
    """All parts of one variant."""

    def __init__(
        self, vlm: VisionLanguageModel, segmenter: Segmenter, dictionary: Dictionary, settings: InterfaceSettings, slots: int
    ) -> None:
        super().__init__()
        self.vlm, self.segmenter, self.dictionary = vlm, segmenter, dictionary
        self.thought_codes = settings.thought_codes
        self.interface: ConceptInterface | TextReadout = TextReadout(slots)
        if settings.readout == "concepts":
            self.interface = ConceptInterface(settings, dictionary.W_dec.detach(), segmenter.channels, slots)
        vlm.freeze_up_to(dictionary.hook_layer)
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
            "language": [parameter for parameter in self.vlm.parameters() if parameter.requires_grad],
            "codebook": [parameter for name, parameter in self.interface.named_parameters() if name.startswith("codebook.")],
            "mapper": [parameter for name, parameter in self.interface.named_parameters() if name.startswith("mapper.")],
            "prompt_encoder": self.segmenter.prompt_parameters(),
            "mask_decoder": self.segmenter.decoder_parameters(),
        }

    def optimiser(self, rates: LearningRates) -> torch.optim.AdamW:
        """AdamW with one group a part; `peak` in each group is its learning rate before the schedule."""
        peaks = rates.model_dump()
        parts = {name: parameters for name, parameters in self.parts().items() if parameters}
        groups = [{"params": parameters, "lr": peaks[name], "peak": peaks[name], "name": name} for name, parameters in parts.items()]
        return torch.optim.AdamW(groups, weight_decay=0.0)

    @torch.no_grad()
    def codes(self, states: HookStates) -> Tensor:
        """Codes [N, T, F] of visual, instruction and thought tokens; zero on every other position."""
        return self.codes_of(states.hidden, states.token_types)

    @torch.no_grad()
    def codes_of(self, hidden: Tensor, token_types: Tensor) -> Tensor:
        """`codes` of hidden states [N, T, d] with types [N, T]."""
        return self.dictionary.encode(hidden.float()) * (token_types != OTHER)[..., None]

    def segment(self, codes: Tensor, states: HookStates, reference_states: Tensor, embeddings: Tensor, valid: Tensor) -> Segmentation:
        """Heat maps, confidences and masks of all slots in one batch; arguments as those of `read`."""
        heat, confidence = self.read(codes, states, reference_states, embeddings, valid)
        return Segmentation(heat, confidence, self.masks(heat, embeddings, valid))

    def read(self, codes: Tensor, states: HookStates, reference_states: Tensor, embeddings: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-map logits [N, K, m, m] and confidence logits [N, K].

        Args:
            codes: [N, T, F].
            states: the sequences' hook states.
            reference_states: [N, K, d].
            embeddings: [N, C, g, g].
            valid: bool [N, m, m].
        """
        if isinstance(self.interface, TextReadout):
            return self.interface(self.vlm, states, valid)
        return self.read_tokens(codes, states.token_types, reference_states, embeddings)

    def read_tokens(self, codes: Tensor, token_types: Tensor, reference_states: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """What the concept interface reads: `read` without words, which only `text_readout` needs; `token_types` uint8 [N, T]."""
        assert isinstance(self.interface, ConceptInterface)
        thought = token_types == THOUGHT
        if not self.thought_codes:
            token_types, thought = torch.where(thought, OTHER, token_types), torch.zeros_like(thought)
        heat, confidence = self.interface(codes, token_types != OTHER, thought, reference_states, embeddings)
        return heat, confidence

    def masks(self, heat: Tensor, embeddings: Tensor, valid: Tensor) -> Tensor:
        """Mask logits [n, k, m, m] from heat-map logits [n, k, m, m], embeddings [n, C, g, g] and `valid`, bool [n, m, m]."""
        return self.segmenter.decode(embeddings, torch.where(valid[:, None], heat, PADDING_LOGIT))
