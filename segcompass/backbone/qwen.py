"""Qwen2.5-VL of transformers behind the interface: positions on three axes, image grids of any shape.

An image is scaled to the nearest multiple of one visual token on both sides, never padded or cropped, so the number of its visual tokens is
its own. Their positions (time, row, column) are those of transformers' `get_rope_index`; text after an image counts on from the greatest.
"""

import numpy as np
from torch import Tensor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize
from transformers.processing_utils import ProcessorMixin
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from segcompass.backbone.generation import SamplingModel
from segcompass.backbone.split import grid_boxes

IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"


class ImageTextProcessor(Qwen2_5_VLProcessor):  # type: ignore[misc]
    """`Qwen2_5_VLProcessor` without its video part, which cannot be made without torchvision."""

    def __init__(
        self, image_processor: Qwen2VLImageProcessorPil, tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None
    ) -> None:
        self.image_token, self.video_token = IMAGE, VIDEO
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([IMAGE, VIDEO])
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class QwenModel(SamplingModel):
    """`Qwen2_5_VLForConditionalGeneration` with its processor."""

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, processor: ImageTextProcessor, slots: int) -> None:
        super().__init__(model, processor, slots)

    def prompt_positions(self, ids: Tensor, mask: Tensor, vision_inputs: dict[str, Tensor]) -> Tensor:
        """See `SplitModel.prompt_positions`."""
        kinds = (ids == self.image_id).int()
        positions, _ = self.model.model.get_rope_index(ids, kinds, vision_inputs["image_grid_thw"], attention_mask=mask.long())
        return positions

    def token_boxes(self, height: int, width: int) -> np.ndarray:
        """See `VisionLanguageModel.token_boxes`."""
        processor = self.processor.image_processor
        side = processor.patch_size * processor.merge_size
        scaled = smart_resize(height, width, side, processor.size["shortest_edge"], processor.size["longest_edge"])
        return grid_boxes(scaled[0] // side, scaled[1] // side, (0.0, 0.0, float(width), float(height)), height, width)
