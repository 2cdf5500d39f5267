"""Tiny configurations of `LlavaForConditionalGeneration` and `SamModel` for the embedded world, with a word-level tokenizer."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llava.configuration_llava import LlavaConfig
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.sam.configuration_sam import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamModel
from transformers.processing_utils import ProcessorMixin

from segcompass.backbone.prompt import DESCRIBE, REFERENCE, THINK_CLOSE, THINK_OPEN, prompt_parts
from segcompass.numerics.finite import refuse_unfinite
from segcompass.study.backbone import SegmenterSettings, VisionLanguageSettings

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", THINK_OPEN, THINK_CLOSE, REFERENCE)
MEAN, STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]


def build_tokenizer(words: list[str], slots: int) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the world's closed vocabulary and the words of the prompt."""
    prompt = [word for part in prompt_parts(DESCRIBE, slots) for word in part.split() if word not in SPECIAL]
    vocabulary = [*SPECIAL, *sorted({*words, *prompt})]
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="left",
        extra_special_tokens={"image_token": "<image>"},
        additional_special_tokens=[THINK_OPEN, THINK_CLOSE, REFERENCE],
    )


def build_vlm(settings: VisionLanguageSettings, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """An untrained LLaVA of the given sizes; weights come from torch's current seed."""
    vision = CLIPVisionConfig(
        hidden_size=settings.vision.width,
        intermediate_size=settings.vision.mlp_width,
        num_hidden_layers=settings.vision.layers,
        num_attention_heads=settings.vision.heads,
        image_size=settings.image_size,
        patch_size=settings.patch_size,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.language.width,
        intermediate_size=settings.language.mlp_width,
        num_hidden_layers=settings.language.layers,
        num_attention_heads=settings.language.heads,
        max_position_embeddings=settings.max_positions,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
        image_seq_length=(settings.image_size // settings.patch_size) ** 2,
        tie_word_embeddings=False,
    )
    return LlavaForConditionalGeneration(config)


def build_processor(settings: VisionLanguageSettings, tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """The processor of the embedded model: images padded to a centred square, then scaled, never cropped."""
    side = {"height": settings.image_size, "width": settings.image_size}
    images = LlavaImageProcessorPil(do_pad=True, do_resize=True, size=side, do_center_crop=False, image_mean=MEAN, image_std=STD)
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=settings.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def build_sam(settings: SegmenterSettings) -> SamModel:
    """An untrained SAM of the given sizes."""
    width, grid = settings.vision.width, settings.image_size // settings.patch_size
    vision = SamVisionConfig(
        hidden_size=width,
        output_channels=settings.channels,
        num_hidden_layers=settings.vision.layers,
        num_attention_heads=settings.vision.heads,
        mlp_dim=settings.vision.mlp_width,
        image_size=settings.image_size,
        patch_size=settings.patch_size,
        window_size=0,
        global_attn_indexes=list(range(settings.vision.layers)),
        num_pos_feats=settings.channels // 2,
    )
    prompt = SamPromptEncoderConfig(
        hidden_size=settings.channels, image_size=settings.image_size, patch_size=settings.patch_size, image_embedding_size=grid
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=settings.channels,
        mlp_dim=4 * settings.channels,
        num_attention_heads=4,
        iou_head_hidden_dim=settings.channels,
    )
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    return SamModel(config)


def save_embedded(folder: Path, vlm: LlavaForConditionalGeneration, processor: LlavaProcessor, sam: SamModel) -> None:
    """Writes `vlm/` and `sam/` as folders that `from_pretrained` of transformers loads.

    Raises:
        InputError: a weight is not finite.
    """
    save_vlm(folder / "vlm", vlm, processor)
    save_sam(folder / "sam", sam)


def save_vlm(folder: Path, vlm: PreTrainedModel, processor: ProcessorMixin, state: dict[str, Tensor] | None = None) -> None:
    """Writes model and processor as one folder that `from_pretrained` loads; see `save_embedded` for what it raises.

    Args:
        folder: to write into.
        vlm: a model of either family.
        processor: its own.
        state: tensors of its `state_dict` in the place of those that it holds, as where these are divided among processes.
    """
    _save(folder, vlm, state)
    processor.save_pretrained(folder)


def save_sam(folder: Path, sam: SamModel) -> None:
    """Writes a SAM as a folder that `from_pretrained` loads; see `save_embedded` for what it raises."""
    _save(folder, sam)


@torch.no_grad()
def _save(folder: Path, model: PreTrainedModel, state: dict[str, Tensor] | None = None) -> None:
    held = dict(model.named_parameters()) if state is None else state
    refuse_unfinite(held, folder, "nothing of that kind is published; lower the learning rates")
    model.save_pretrained(folder, state_dict=state)
