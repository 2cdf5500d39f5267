"""Loads backbones from folders of transformers, whatever made them; `config.json` says which family a folder holds."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.models.sam.modeling_sam import SamModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from segcompass.backbone.interface import Segmenter, VisionLanguageModel
from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.qwen import ImageTextProcessor, QwenModel
from segcompass.backbone.runtime import usable_device
from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.vocabulary import complete_tokenizer, complete_vocabulary
from segcompass.errors import InputError, damaged
from segcompass.numerics.finite import loaded_finite
from segcompass.study.backbone import AnswerSettings, RuntimeSettings

FAMILIES: dict[str, tuple[Any, Any, Any]] = {
    "llava": (LlavaForConditionalGeneration, LlavaProcessor, LlavaModel),
    "qwen2_5_vl": (Qwen2_5_VLForConditionalGeneration, ImageTextProcessor, QwenModel),
}
"""`model_type` -> model and processor of transformers, and what drives them."""


def load_vlm(folder: Path, runtime: RuntimeSettings, answer: AnswerSettings) -> VisionLanguageModel:
    """The vision-language model of a `from_pretrained` folder, in evaluation mode, its vocabulary completed.

    Raises:
        InputError: the folder is missing, damaged or of no family that we drive, its tokenizer lacks what prompts and padding need, or
            the device is not there.
    """
    kind, device = _model_type(folder, tuple(FAMILIES)), usable_device(runtime.device)
    _no_bars_in_files()
    model_class, processor_class, family = FAMILIES[kind]
    with _whole(folder):
        processor = processor_class.from_pretrained(folder)
        model = model_class.from_pretrained(folder, dtype=getattr(torch, runtime.dtype), attn_implementation=runtime.attention)
    loaded_finite(dict(model.named_parameters()), folder, "weights")
    if "sliding_attention" in (getattr(model.config.text_config, "layer_types", None) or ()):
        raise InputError(
            folder / "config.json",
            "layer_types",
            "has sliding attention, which hook and shared prefix do not support; take a model without it",
        )
    if processor.tokenizer.pad_token_id is None or processor.tokenizer.eos_token_id is None:
        raise InputError(
            folder / "tokenizer_config.json", "pad_token, eos_token", "are missing; both are needed to sample in batches, so add them"
        )
    if not processor.tokenizer.is_fast:
        raise InputError(
            folder / "tokenizer.json", "", "is missing; save the tokenizer with the library tokenizers, which says where tokens stand"
        )
    added = complete_vocabulary(model, processor.tokenizer)
    if added and processor.chat_template is None:
        raise InputError(folder / "chat_template.jinja", "", "is missing; copy the checkpoint's own beside its tokenizer")
    vlm: VisionLanguageModel = family(model, processor, answer.slots).to(device).eval()
    vlm.longest_answer = answer.longest
    vlm.gradient_checkpointing = runtime.gradient_checkpointing
    return vlm


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a vision-language model's folder, with the ids that `load_vlm` gives it; no weights are loaded.

    Raises:
        InputError: the folder is missing, damaged or of no family that we drive.
    """
    _, processor_class, _ = FAMILIES[_model_type(folder, tuple(FAMILIES))]
    with _whole(folder):
        tokenizer: PreTrainedTokenizerBase = processor_class.from_pretrained(folder).tokenizer
    complete_tokenizer(tokenizer)
    return tokenizer


def load_segmenter(folder: Path, runtime: RuntimeSettings) -> Segmenter:
    """SAM of a `from_pretrained` folder, in evaluation mode.

    Raises:
        InputError: the folder is missing or damaged, or holds another model, or the device is not there.
    """
    _model_type(folder, ("sam",))
    device = usable_device(runtime.device)
    _no_bars_in_files()
    attention = "sdpa" if runtime.attention == "flash_attention_2" else runtime.attention  # SAM adds relative positions to its scores
    with _whole(folder):
        model = SamModel.from_pretrained(folder, dtype=getattr(torch, runtime.dtype), attn_implementation=attention)
    loaded_finite(dict(model.named_parameters()), folder, "weights")
    return SamSegmenter(model).to(device).eval()


@contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Turns what transformers says of a missing or damaged file into one sentence."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise damaged(
            folder, "", f"cannot be loaded by transformers ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        ) from error


def _no_bars_in_files() -> None:
    """Keeps the progress bars of transformers out of logs and other redirected output, as our own are."""
    if not sys.stderr.isatty():
        disable_progress_bar()


def _model_type(folder: Path, known: tuple[str, ...]) -> str:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except OSError as error:
        raise InputError(
            folder, "", "holds no checkpoint of transformers (config.json); name a folder that `from_pretrained` loads"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            folder / "config.json", "model_type", "cannot be read; the file is no configuration of transformers, so copy it anew"
        ) from error
    if found not in known:
        raise InputError(folder / "config.json", "model_type", f"is {found!r}; take a model of {', '.join(known)}")
    return str(found)
