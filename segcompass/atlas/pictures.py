"""Pictures in a page: each stands in it once, as WebP in a data URI, and crops are windows on it, so that a thousand crops cost nothing."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image

HEAT_MAP_COLOURS = "magma"
QUALITY = 82


def picture_uri(pixels: np.ndarray, longest: int) -> str:
    """A picture, uint8 [height, width, 3], whose longer side becomes `longest` where it is greater."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return _uri(image, quality=QUALITY, method=6)


def heat_map_uri(logits: np.ndarray) -> str:
    """Logits [h, w] as probabilities in colours, dark where they are 0."""
    probability = 1 / (1 + np.exp(-np.clip(logits, -30.0, 30.0)))
    return _uri(Image.fromarray(colormaps[HEAT_MAP_COLOURS](probability, bytes=True)[..., :3]), lossless=True, method=6)


def mask_uri(mask: np.ndarray, colour: Sequence[int]) -> str:
    """A mask, bool [h, w], of one colour (red, green, blue, opacity) where it is true, transparent elsewhere."""
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask] = colour
    return _uri(Image.fromarray(pixels, "RGBA"), lossless=True, method=6)


def _uri(image: Image.Image, **options: int | bool) -> str:
    held = io.BytesIO()
    image.save(held, "WEBP", **options)
    return f"data:image/webp;base64,{base64.b64encode(held.getvalue()).decode('ascii')}"
