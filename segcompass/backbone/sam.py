"""SAM of transformers behind the interface: heat maps enter as mask prompts, all slots in one batch (paper section 2, step 6).

The image encoder, which is frozen, has the study's dtype; prompt encoder, mask decoder and positional code are float32.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.sam.modeling_sam import SamModel

from segcompass.backbone.interface import Image, Segmenter, SegmenterInputs

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
"""SAM's own normalisation."""


class SamSegmenter(Segmenter):
    """`SamModel`; images are scaled so that the longer side fills the square, and padded at the right and bottom."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model = model
        vision = model.config.vision_config
        self.image_size = vision.image_size
        self.channels, self.grid = vision.output_channels, vision.image_size // vision.patch_size
        self.mask_side = 4 * self.grid
        for part in (model.prompt_encoder, model.mask_decoder, model.shared_image_embedding):
            part.float()

    def inputs(self, images: Sequence[Image]) -> SegmenterInputs:
        """See `Segmenter.inputs`."""
        side, m = self.image_size, self.mask_side
        pixels = torch.zeros(len(images), 3, side, side)
        valid = torch.zeros(len(images), m, m, dtype=torch.bool)
        for index, image in enumerate(images):
            height, width = self._scaled(image.shape[0], image.shape[1])
            scaled = np.asarray(PilImage.fromarray(image).resize((width, height), PilImage.Resampling.BILINEAR))
            pixels[index, :, :height, :width] = (torch.from_numpy(scaled.copy()).permute(2, 0, 1).float() - MEAN) / STD
            valid[index, : -(-height * m // side), : -(-width * m // side)] = True
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        return SegmenterInputs(pixels.to(self.device), sizes, valid.to(self.device))

    @torch.no_grad()
    def embed(self, inputs: SegmenterInputs) -> Tensor:
        """See `Segmenter.embed`."""
        return self.encode_pixels(inputs.pixels)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Image embeddings [B, C, g, g] as float32, with gradient, for training the encoder."""
        return self.model.vision_encoder(pixels.to(self.model.vision_encoder.dtype)).last_hidden_state.float()

    def decode(self, embeddings: Tensor, heat: Tensor) -> Tensor:
        """See `Segmenter.decode`."""
        n, k = heat.shape[:2]
        sparse, dense = self.model.prompt_encoder(
            input_points=None, input_labels=None, input_boxes=None, input_masks=heat.flatten(0, 1)[:, None]
        )
        position = self.model.get_image_wide_positional_embeddings()
        masks, _ = self.model.mask_decoder(
            image_embeddings=embeddings.repeat_interleave(k, 0),
            image_positional_embeddings=position.expand(n * k, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )[:2]
        return masks.reshape(n, k, self.mask_side, self.mask_side)

    def to_image(self, logits: Tensor, size: tuple[int, int]) -> np.ndarray:
        """See `Segmenter.to_image`."""
        height, width = self._scaled(*size)
        full = functional.interpolate(logits[None], size=(self.image_size, self.image_size), mode="bilinear", align_corners=False)
        seen = functional.interpolate(full[..., :height, :width], size=size, mode="bilinear", align_corners=False)[0]
        return (seen > 0).cpu().numpy()

    def to_low_resolution(self, mask: np.ndarray) -> Tensor:
        """See `Segmenter.to_low_resolution`."""
        height, width = self._scaled(*mask.shape)
        square = torch.zeros(self.image_size, self.image_size)
        square[:height, :width] = functional.interpolate(
            torch.from_numpy(mask.astype(np.float32))[None, None], size=(height, width), mode="area"
        )[0, 0]
        return functional.adaptive_avg_pool2d(square[None], self.mask_side)[0].to(self.device)

    def prompt_parameters(self) -> list[nn.Parameter]:
        """See `Segmenter.prompt_parameters`."""
        return list(self.model.prompt_encoder.mask_embed.parameters())

    def decoder_parameters(self) -> list[nn.Parameter]:
        """See `Segmenter.decoder_parameters`."""
        return list(self.model.mask_decoder.parameters())

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        scale = self.image_size / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
