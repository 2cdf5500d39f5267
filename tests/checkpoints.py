"""Random checkpoints of the smallest sizes, on disk as the published ones lie there.

A byte-level tokenizer that knows no token of our answers, padded vocabularies, a chat template, the families' own image processors.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llava.configuration_llava import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from segcompass.backbone.qwen import ImageTextProcessor

PADDED_ROWS, ROWS_WITH_WORDS = 320, 768
"""Rows of the embedding matrices, of tokenizers of bytes alone and of such with words; the tokenizers know fewer tokens."""
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
QWEN_TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(special: list[str], texts: Sequence[str] = (), **roles: str) -> PreTrainedTokenizerFast:
    """One token a byte and, as published tokenizers have, one for each common word of some texts; then the special ones.

    A beginning-of-sequence token, where there is one, is put before every text.
    """
    alphabet = sorted(ByteLevel.alphabet())
    backend = Tokenizer(BPE({symbol: index for index, symbol in enumerate(alphabet)}, []))
    backend.pre_tokenizer, backend.decoder = ByteLevel(add_prefix_space=False), ByteDecoder()
    if texts:
        size = ROWS_WITH_WORDS - 16  # room for special tokens
        backend.train_from_iterator(texts, BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    backend.add_special_tokens(special)
    if begin := roles.get("bos_token"):
        backend.post_processor = TemplateProcessing(f"{begin} $A", special_tokens=[(begin, backend.token_to_id(begin))])
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="right", **roles)


def save_llava(folder: Path, seed: int = 0, layers: int = 3, padded: bool = True, tied: bool = False, texts: Sequence[str] = ()) -> None:
    """A folder in the form of `llava-hf/llava-1.5-7b-hf`: centre crop, class token dropped, second to last vision layer."""
    tokenizer = byte_tokenizer(["<unk>", "<s>", "</s>", "<image>", "<pad>"], texts, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=56, patch_size=14
    )
    text = LlamaConfig(
        vocab_size=_rows(texts) if padded else len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=tied,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
        image_seq_length=16,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(seed)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    side = {"height": 56, "width": 56}
    images = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size=side)
    LlavaProcessor(images, tokenizer, 14, "default", chat_template=LLAVA_TEMPLATE, num_additional_image_tokens=1).save_pretrained(folder)


def save_qwen(folder: Path, seed: int = 0, layers: int = 3, padded: bool = True, tied: bool = False, texts: Sequence[str] = ()) -> None:
    """A folder in the form of `Qwen/Qwen2.5-VL-7B-Instruct`: grouped key heads, window attention, at most 64 visual tokens an image."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = byte_tokenizer(special, texts, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        text_config={
            "vocab_size": _rows(texts) if padded else len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "bos_token_id": ids("<|endoftext|>"),
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1000000.0},
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=tied,
    )
    torch.manual_seed(seed)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 64})
    ImageTextProcessor(images, tokenizer, chat_template=QWEN_TEMPLATE).save_pretrained(folder)


def _rows(texts: Sequence[str]) -> int:
    return ROWS_WITH_WORDS if texts else PADDED_ROWS


SAVE = {"llava": save_llava, "qwen": save_qwen}
"""Family -> what writes a checkpoint of it."""
