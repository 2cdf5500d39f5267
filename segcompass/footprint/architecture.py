"""Sizes of the models of a study: how many parameters each part has, and how many tokens an image becomes.

A closed formula for each part, in the terms of the models' own configurations; tests compare them with the models that transformers builds.
Shape letters: d width, f width of the feed-forward layer, p patch side, g side of SAM's image embedding.
"""

from dataclasses import dataclass

PHOTOGRAPH = (480, 640)
"""Height and width in pixels of the photographs that sizes are stated for: COCO's most frequent format."""


@dataclass(frozen=True)
class LanguageModel:
    """A decoder of the Llama family with grouped key heads, head and embedding matrix not tied."""

    width: int
    """d."""
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    mlp_width: int
    """f."""
    vocabulary: int
    """Rows of the embedding matrix and of the head."""
    attention_bias: bool
    """Biases of query, key and value projections, as Qwen2.5 has them."""

    @property
    def query_width(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_width

    @property
    def key_value_width(self) -> int:
        """Width of all key heads, which is that of all value heads."""
        return self.key_value_heads * self.head_width

    @property
    def block(self) -> int:
        """Parameters of one block: four attention matrices, three of the feed-forward layer, two norms."""
        attention = 2 * self.width * (self.query_width + self.key_value_width)
        biases = self.query_width + 2 * self.key_value_width if self.attention_bias else 0
        return attention + biases + 3 * self.width * self.mlp_width + 2 * self.width

    @property
    def head(self) -> int:
        """Parameters of the output head, which is as large as the embedding matrix."""
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """Parameters of the whole language model."""
        return self.layers * self.block + 2 * self.head + self.width


@dataclass(frozen=True)
class VisionTower:
    """The vision tower of a vision-language model and what projects its output to the language model's width."""

    parameters: int
    projector: int
    patches: int
    """Positions that the tower runs over, an image."""
    tokens: int
    """Visual tokens that the language model sees, an image."""


def clip_tower(width: int, layers: int, mlp_width: int, image_size: int, patch: int, language_width: int) -> VisionTower:
    """CLIP's vision transformer with LLaVA's two-layer projector; the class token is dropped behind it."""
    tokens = (image_size // patch) ** 2
    embeddings = width + 3 * patch**2 * width + (tokens + 1) * width
    block = 4 * (width**2 + width) + 2 * width * mlp_width + mlp_width + width + 4 * width
    projector = width * language_width + language_width**2 + 2 * language_width
    return VisionTower(embeddings + layers * block + 4 * width, projector, tokens + 1, tokens)


def qwen_tower(width: int, layers: int, mlp_width: int, patch: int, merge: int, frames: int, language_width: int) -> VisionTower:
    """Qwen2.5-VL's vision transformer; `merge` x `merge` patches become one visual token, so their number follows the image."""
    side = patch * merge
    tokens = round(PHOTOGRAPH[0] / side) * round(PHOTOGRAPH[1] / side)
    block = 4 * (width**2 + width) + 3 * width * mlp_width + 2 * mlp_width + width + 2 * width
    merged = merge**2 * width
    projector = width + merged**2 + merged + merged * language_width + language_width
    return VisionTower(3 * frames * patch**2 * width + layers * block, projector, tokens * merge**2, tokens)


@dataclass(frozen=True)
class SegmenterSize:
    """SAM: a vision transformer with windowed and global attention, a mask prompt road, a two-way mask decoder."""

    width: int
    layers: int
    global_layers: int
    """Blocks that attend globally; all when there is no window."""
    mlp_width: int
    patch: int
    image_size: int
    window: int
    """Side of an attention window in patches; 0 is global attention."""
    heads: int
    channels: int
    """C, of image embedding and mask decoder."""
    prompt_channels: int
    """Of the mask prompt's convolutions before the last."""
    decoder_mlp_width: int
    """Width of the feed-forward layers of the mask decoder."""

    @property
    def grid(self) -> int:
        """g, side of the image embedding."""
        return self.image_size // self.patch

    @property
    def encoder(self) -> int:
        """Parameters of the image encoder, with its relative positions and the neck behind it."""
        d, head = self.width, self.width // self.heads
        windowed = self.layers - self.global_layers
        block = 4 * d + 4 * (d**2 + d) + 2 * d * self.mlp_width + self.mlp_width + d
        positions = 2 * head * (self.global_layers * (2 * self.grid - 1) + windowed * (2 * self.window - 1))
        neck = d * self.channels + 9 * self.channels**2 + 4 * self.channels
        return 3 * self.patch**2 * d + d + self.grid**2 * d + self.layers * block + positions + neck

    @property
    def prompt(self) -> int:
        """Parameters of the mask prompt's three convolutions and two norms: the trained part of the prompt encoder."""
        first, second = self.prompt_channels // 4, self.prompt_channels
        return 4 * first + 3 * first + 4 * first * second + 3 * second + second * self.channels + self.channels

    @property
    def decoder(self) -> int:
        """Parameters of the mask decoder: two two-way blocks, a last attention, upscaling, four masks' networks and the IoU head."""
        c = self.channels
        full, halved = 4 * (c**2 + c), 2 * c**2 + 3 * (c // 2) + c
        block = full + 2 * halved + 2 * c * self.decoder_mlp_width + self.decoder_mlp_width + c + 8 * c
        upscaling = c * (c // 4) * 4 + c // 4 + 2 * (c // 4) + (c // 4) * (c // 8) * 4 + c // 8
        masks = 4 * (2 * (c**2 + c) + c * (c // 8) + c // 8)
        quality = 2 * (c**2 + c) + 4 * c + 4
        return 2 * block + halved + 2 * c + 5 * c + upscaling + masks + quality


@dataclass(frozen=True)
class Backbone:
    """Sizes of the backbones of a study."""

    language: LanguageModel
    vision: VisionTower
    segmenters: dict[str, SegmenterSize]
    """Every SAM by its name, the largest first."""
    prompt_text: int
    """Text tokens of a prompt: wording, chat template and a sentence of usual length."""

    @property
    def segmenter(self) -> SegmenterSize:
        """The largest SAM."""
        return self.segmenters["sam"]
