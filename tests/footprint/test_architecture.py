"""Closed formulas of parameter counts against the models that transformers builds, at published and at tiny sizes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llava.configuration_llava import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.models.sam.modeling_sam import SamModel

from segcompass.errors import InputError
from segcompass.footprint.architecture import LanguageModel, clip_tower, qwen_tower
from segcompass.footprint.sizes import VISION_LANGUAGE, backbone_sizes
from segcompass.study.load import load_study
from tests.tiny import tiny_sam, tiny_vlm

PARAMS = Path("params")
LLAMA_13B = {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 40}
QWEN = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}


def count(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def meta(model_class: Any, config: Any) -> Any:
    """The model without storage for its weights."""
    with torch.device("meta"):
        return model_class(config)


def test_one_block_by_hand() -> None:
    """d = 8, 4 heads of 2, 2 key heads of 2, f = 10: q and o 64 each, k and v 32 each; 3 x 80; norms 16."""
    language = LanguageModel(8, 3, 4, 2, 2, 10, 20, False)
    assert language.block == 64 + 64 + 32 + 32 + 240 + 16
    assert language.parameters == 3 * 448 + 2 * 160 + 8
    assert LanguageModel(8, 3, 4, 2, 2, 10, 20, True).block == 448 + 8 + 4 + 4


@pytest.mark.parametrize(("name", "text"), [("llava-1.5-7b-hf", {}), ("llava-1.5-13b-hf", LLAMA_13B)])
def test_llava_as_published(name: str, text: dict) -> None:
    config = LlavaConfig(text_config={"model_type": "llama", "vocab_size": 32064} | text, tie_word_embeddings=False)
    model = meta(LlavaForConditionalGeneration, config)
    language, vision = VISION_LANGUAGE[name]
    layers = model.model.language_model.layers
    assert (language.block, language.layers) == (count(layers[0]), len(layers))
    assert language.parameters == count(model.model.language_model) + count(model.lm_head)
    assert vision.parameters == count(model.model.vision_tower)
    assert vision.projector == count(model.model.multi_modal_projector)
    assert vision.tokens == 576


def test_qwen_as_published() -> None:
    config = Qwen2_5_VLConfig(text_config=QWEN, vision_config={"hidden_size": 1280, "out_hidden_size": 3584}, tie_word_embeddings=False)
    model = meta(Qwen2_5_VLForConditionalGeneration, config)
    language, vision = VISION_LANGUAGE["qwen2.5-vl-7b-instruct"]
    tower = model.model.visual
    assert language.block == count(model.model.language_model.layers[0])
    assert language.parameters == count(model.model.language_model) + count(model.lm_head)
    assert (vision.projector, vision.parameters) == (count(tower.merger), count(tower) - count(tower.merger))
    assert (vision.tokens, vision.patches) == (17 * 23, 34 * 46)


@pytest.mark.parametrize("name", ["micro", "shipped"])
def test_sizes_of_the_embedded_backbone(name: str) -> None:
    """By its recipe, before anything is built, and by the shipped folders' own configurations."""
    study = load_study(Path("tests/workflow/micro.yaml")) if name == "micro" else load_study(PARAMS / "default.yaml")
    sizes = backbone_sizes(study, Path.cwd())
    if name == "micro":
        vlm, sam = tiny_vlm().model, tiny_sam().model
    else:
        vlm = LlavaForConditionalGeneration.from_pretrained("backbones/embedded/vlm")
        sam = SamModel.from_pretrained("backbones/embedded/sam")
    assert sizes.language.parameters == count(vlm.model.language_model) + count(vlm.lm_head)
    assert sizes.vision.parameters == count(vlm.model.vision_tower)
    assert sizes.vision.projector == count(vlm.model.multi_modal_projector)
    assert sizes.segmenter.encoder == count(sam.vision_encoder)
    assert sizes.segmenter.decoder == count(sam.mask_decoder)


def test_tokens_of_an_image() -> None:
    assert clip_tower(64, 2, 128, 336, 14, 64).tokens == 24 * 24
    assert qwen_tower(64, 2, 128, 14, 2, 2, 64).tokens == 17 * 23  # 480 and 640 pixels in steps of 28


def test_an_unknown_checkpoint_that_is_not_there_is_one_sentence() -> None:
    study = load_study(PARAMS / "paper_llava7b.yaml")
    other = study.model_copy(update={"backbone": study.backbone.model_copy(update={"vlm_path": "checkpoints/unheard-of"})})
    with pytest.raises(InputError, match=r"checkpoints/unheard-of: backbone\.vlm_path: holds no config\.json"):
        backbone_sizes(other, Path.cwd())
