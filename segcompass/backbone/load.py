"""Loads backbones from folders of transformers, whatever made them."""

from pathlib import Path

import torch
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.sam.modeling_sam import SamModel

from segcompass.backbone.interface import Segmenter, VisionLanguageModel
from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.sam import SamSegmenter
from segcompass.errors import InputError
from segcompass.study.backbone import AnswerSettings, RuntimeSettings


def load_vlm(folder: Path, runtime: RuntimeSettings, answer: AnswerSettings) -> VisionLanguageModel:
    """The vision-language model of a `from_pretrained` folder, in evaluation mode.

    Raises:
        InputError: the folder is missing.
    """
    _present(folder)
    dtype = getattr(torch, runtime.dtype)
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation=runtime.attention)
    vlm = LlavaModel(model, LlavaProcessor.from_pretrained(folder), answer.slots).to(runtime.device).eval()
    vlm.gradient_checkpointing = runtime.gradient_checkpointing
    return vlm


def load_segmenter(folder: Path, runtime: RuntimeSettings) -> Segmenter:
    """SAM of a `from_pretrained` folder, in evaluation mode.

    Raises:
        InputError: the folder is missing.
    """
    _present(folder)
    model = SamModel.from_pretrained(folder, dtype=getattr(torch, runtime.dtype), attn_implementation=runtime.attention)
    return SamSegmenter(model).to(runtime.device).eval()


def _present(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InputError(folder, "", "holds no checkpoint of transformers (config.json); run the stage train_backbone")
