"""LLaVA-1.5 of transformers behind the interface; the embedded backbone is one of these.

Its visual tokens are a square grid, over the padded square of the whole image or over what a centre crop leaves of it: the checkpoint's own
image processor says which.
"""

import numpy as np
from torch import Tensor
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor

from segcompass.backbone.generation import SamplingModel
from segcompass.backbone.split import grid_boxes


class LlavaModel(SamplingModel):
    """`LlavaForConditionalGeneration` with its processor."""

    def __init__(self, model: LlavaForConditionalGeneration, processor: LlavaProcessor, slots: int) -> None:
        super().__init__(model, processor, slots)

    def prompt_positions(self, ids: Tensor, mask: Tensor, vision_inputs: dict[str, Tensor]) -> Tensor:
        """See `SplitModel.prompt_positions`: valid tokens are counted."""
        del ids, vision_inputs
        return (mask.long().cumsum(1) - 1).clamp(min=0)

    def token_boxes(self, height: int, width: int) -> np.ndarray:
        """See `VisionLanguageModel.token_boxes`."""
        vision = self.model.config.vision_config
        side = vision.image_size // vision.patch_size
        return grid_boxes(side, side, self._seen(height, width), height, width)

    def _seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        processor = self.processor.image_processor
        if getattr(processor, "do_pad", False):
            square = max(height, width)
            left, top = -float((square - width) // 2), -float((square - height) // 2)
            return left, top, left + square, top + square
        if not processor.do_center_crop:
            return 0.0, 0.0, float(width), float(height)
        scale = processor.size["shortest_edge"] / min(height, width)
        tall, wide = int(height * scale), int(width * scale)
        left, top = (wide - processor.crop_size["width"]) // 2, (tall - processor.crop_size["height"]) // 2
        right, bottom = left + processor.crop_size["width"], top + processor.crop_size["height"]
        return left * width / wide, top * height / tall, right * width / wide, bottom * height / tall
