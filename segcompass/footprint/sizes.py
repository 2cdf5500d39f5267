"""Where a study's architecture sizes come from: the study itself, `config.json` of its checkpoints, or the published sizes below."""

from pathlib import Path
from typing import Any

from segcompass.errors import InputError
from segcompass.footprint.architecture import Backbone, LanguageModel, SegmenterSize, VisionTower, clip_tower, qwen_tower
from segcompass.study.backbone import EmbeddedBackbone, SegmenterSettings, TowerSettings, given_models
from segcompass.study.study import Study

CHAT_TOKENS, EMBEDDED_TOKENS = 80, 16
"""Text tokens of a prompt: request and chat template with a sentence of up to ten words; the embedded world's wording."""
VISION_LANGUAGE = {
    "llava-1.5-7b-hf": (LanguageModel(4096, 32, 32, 32, 128, 11008, 32064, False), clip_tower(1024, 24, 4096, 336, 14, 4096)),
    "llava-1.5-13b-hf": (LanguageModel(5120, 40, 40, 40, 128, 13824, 32064, False), clip_tower(1024, 24, 4096, 336, 14, 5120)),
    "qwen2.5-vl-7b-instruct": (LanguageModel(3584, 28, 28, 4, 128, 18944, 152064, True), qwen_tower(1280, 32, 3420, 14, 2, 2, 3584)),
}
"""Folder name -> sizes in the published `config.json` of that checkpoint."""
SEGMENTERS = {
    "sam-vit-huge": SegmenterSize(1280, 32, 4, 5120, 16, 1024, 14, 16, 256, 16, 2048),
    "sam-vit-large": SegmenterSize(1024, 24, 4, 4096, 16, 1024, 14, 16, 256, 16, 2048),
    "sam-vit-base": SegmenterSize(768, 12, 4, 3072, 16, 1024, 14, 12, 256, 16, 2048),
}
"""As above, of SAM."""


def backbone_sizes(study: Study, root: Path) -> Backbone:
    """Sizes of the study's backbones; paths of the study are relative to `root`.

    Raises:
        InputError: a named checkpoint is not on disk and none whose sizes are known.
    """
    if isinstance(study.backbone, EmbeddedBackbone) and study.backbone.source == "build":
        return _recipe(study.backbone, study.answer.slots)
    folders = {part: root / folder for part, folder in given_models(study.backbone).items()}
    keys = {"vlm": "backbone.vlm_path", "sam": "backbone.sam_path"}
    keys |= {name: f"backbone.smaller_sams.{name}" for name in study.backbone.smaller_sams}
    if isinstance(study.backbone, EmbeddedBackbone):
        keys = dict.fromkeys(keys, "backbone.folder")
    language, vision = _of(folders["vlm"], VISION_LANGUAGE, _vision_language, keys["vlm"])
    segmenters = {name: _of(folders[name], SEGMENTERS, _segmenter, keys[name]) for name in study.backbone.segmenters}
    text = EMBEDDED_TOKENS if isinstance(study.backbone, EmbeddedBackbone) else CHAT_TOKENS
    return Backbone(language, vision, segmenters, text)


def _of(folder: Path, published: dict[str, Any], read: Any, key: str) -> Any:
    if (folder / "config.json").is_file():
        return read(folder)
    if folder.name.lower() in published:
        return published[folder.name.lower()]
    raise InputError(folder, key, f"holds no config.json, and no sizes are known by that name; known: {', '.join(published)}")


def _vision_language(folder: Path) -> tuple[LanguageModel, VisionTower]:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    text, vision = config.text_config, config.vision_config
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads, rows = (text.num_attention_heads, text.num_key_value_heads), text.vocab_size
    language = LanguageModel(
        text.hidden_size, text.num_hidden_layers, *heads, head_width, text.intermediate_size, rows, config.model_type == "qwen2_5_vl"
    )
    size = (vision.hidden_size, vision.depth if config.model_type == "qwen2_5_vl" else vision.num_hidden_layers, vision.intermediate_size)
    match config.model_type:
        case "llava":
            return language, clip_tower(*size, vision.image_size, vision.patch_size, language.width)
        case "qwen2_5_vl":
            return language, qwen_tower(
                *size, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size, vision.out_hidden_size
            )
    raise InputError(folder / "config.json", "model_type", f"is {config.model_type!r}; known here: llava, qwen2_5_vl")


def _segmenter(folder: Path) -> SegmenterSize:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    vision = config.vision_config
    globally = len(vision.global_attn_indexes) if vision.window_size else vision.num_hidden_layers
    return SegmenterSize(
        vision.hidden_size,
        vision.num_hidden_layers,
        globally,
        vision.mlp_dim,
        vision.patch_size,
        vision.image_size,
        vision.window_size,
        vision.num_attention_heads,
        vision.output_channels,
        config.prompt_encoder_config.mask_input_channels,
        config.mask_decoder_config.mlp_dim,
    )


def _recipe(backbone: EmbeddedBackbone, slots: int) -> Backbone:
    """Sizes of the embedded backbone before it is built."""
    from segcompass.backbone.build import build_tokenizer
    from segcompass.world.instructions import vocabulary

    vlm, sam = backbone.vlm, backbone.sam
    text, vision = vlm.language, vlm.vision
    rows = len(build_tokenizer(vocabulary(), slots))
    language = LanguageModel(text.width, text.layers, text.heads, text.heads, text.width // text.heads, text.mlp_width, rows, False)
    tower = clip_tower(vision.width, vision.layers, vision.mlp_width, vlm.image_size, vlm.patch_size, text.width)
    segmenters = {name: _embedded_segmenter(sam, encoder) for name, encoder in ({"sam": sam.vision} | backbone.smaller_sams).items()}
    return Backbone(language, tower, segmenters, EMBEDDED_TOKENS)


def _embedded_segmenter(sam: SegmenterSettings, encoder: TowerSettings) -> SegmenterSize:
    sides = (sam.patch_size, sam.image_size, 0)
    return SegmenterSize(
        encoder.width, encoder.layers, encoder.layers, encoder.mlp_width, *sides, encoder.heads, sam.channels, 16, 4 * sam.channels
    )
