"""Bytes by hand, against the modules that the code builds, and against what autograd keeps for a backward pass."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaModel
from transformers.models.sam.configuration_sam import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamModel

from segcompass.backbone.sam import SamSegmenter
from segcompass.footprint.architecture import LanguageModel
from segcompass.footprint.memory import (
    DECODER_FLOATS,
    active_concepts,
    block_activation_bytes,
    dictionary_width,
    interface_bytes,
    learns_from_masks,
    model_parts,
    sampling_bytes,
    state_bytes,
    update_bytes,
    warm_start_bytes,
)
from segcompass.footprint.sizes import backbone_sizes
from segcompass.study.load import load_study
from segcompass.study.study import Study
from tests.tiny import micro_study, tiny_joint

PAPER = load_study(Path("params/paper_llava7b.yaml"))


def with_runtime(**keys: object) -> Study:
    """The paper's study with other runtime keys."""
    return PAPER.model_copy(update={"runtime": PAPER.runtime.model_copy(update=keys)})


def with_joint(**keys: object) -> Study:
    """The paper's study with other keys of joint training."""
    return PAPER.model_copy(update={"joint": PAPER.joint.model_copy(update=keys)})


def kept_bytes(module: nn.Module, run: Callable[[], object]) -> int:
    """Bytes of the storages that autograd keeps of a forward pass, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run()
    assert output is not None
    return sum(size for place, size in found.items() if place not in own)


@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_keeps_what_the_formula_says(dtype: torch.dtype, key_heads: int) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 4, "num_key_value_heads": key_heads, "vocab_size": 8}
    model = LlamaModel(LlamaConfig(num_hidden_layers=1, attn_implementation="sdpa", **sizes))
    language, half = LanguageModel(128, 1, 4, key_heads, 32, 352, 8, False), dtype != torch.float32
    hidden = torch.randn(2, 64, 128, requires_grad=True).to(dtype)
    rotary = model.rotary_emb(hidden, position_ids=torch.arange(64)[None])

    def run() -> object:
        with torch.autocast("cpu", dtype, enabled=half):
            return model.layers[0](hidden, attention_mask=None, position_embeddings=rotary)

    kept = kept_bytes(model.layers[0], run)
    if half:  # autocast's copies of the weights are kept as well; they are counted as weights at work
        kept -= 2 * (language.block - 2 * 128)
    assert kept / (2 * 64) == pytest.approx(block_activation_bytes(language, half), rel=0.04)


@pytest.mark.parametrize(("grid", "slots"), [(16, 3), (32, 1)])
def test_the_mask_decoder_keeps_what_the_constant_says(grid: int, slots: int) -> None:
    torch.manual_seed(0)
    side = 16 * grid
    vision = SamVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=1, mlp_dim=16, image_size=side, global_attn_indexes=[0]
    )
    prompt = SamPromptEncoderConfig(image_size=side, image_embedding_size=grid)
    sam = SamSegmenter(SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=SamMaskDecoderConfig())))
    heat = torch.randn(1, slots, 4 * grid, 4 * grid, requires_grad=True)
    kept = kept_bytes(sam, lambda: sam.decode(torch.randn(1, 256, grid, grid), heat))
    assert kept == pytest.approx(DECODER_FLOATS * 4 * slots * grid**2 * 256, rel=0.05)


def test_trained_parts_are_those_of_the_joint_model() -> None:
    study = micro_study()
    parts = {part.name: part for part in model_parts(study, backbone_sizes(study, Path.cwd()), study.joint)}
    model = tiny_joint()
    named = {
        "language": parts["blocks 3 to 3"].parameters + parts["final norm and head"].parameters,
        "codebook": parts["query codebook"].parameters,
        "mapper": parts["slot mapper"].parameters,
        "prompt_encoder": parts["SAM mask prompt"].parameters,
        "mask_decoder": parts["SAM mask decoder"].parameters,
    }
    assert named == {name: sum(value.numel() for value in values) for name, values in model.parts().items()}
    assert parts["dictionary"].parameters == sum(value.numel() for value in model.dictionary.parameters())
    assert sum(part.parameters for part in parts.values() if part.trained) == sum(value.numel() for value in model.trained().values())


def test_states_by_hand() -> None:
    """LLaVA-1.5-7B above block 16: 16 blocks of 202,383,360, head 131,334,144, norm 4,096; interface and SAM as the parts say."""
    backbone = backbone_sizes(PAPER, Path.cwd())
    policy = 16 * 202_383_360 + 131_334_144 + 4_096
    interface = 18_358_784 + 3_251_394 + 4_684 + 4_058_340
    trained = policy + interface
    alone, shared = state_bytes(PAPER, backbone, 1), state_bytes(PAPER, backbone, 8)
    assert alone["trained weights"] == alone["gradients"] == 4 * trained
    assert alone["AdamW moments"] == 8 * trained and alone["reference policy"] == 2 * policy
    assert shared["gradients"] == 4 * (16 * 202_383_360 // 8 + (131_334_144 + 4_096) // 8 + interface)
    assert shared["reference policy"] == 2 * policy // 8


def test_keys_and_values_by_hand() -> None:
    """32 blocks x (keys + values) of 4,096 numbers of 2 bytes, for 2 prompts of 656 tokens and 8 answers of 135 tokens each."""
    found = sampling_bytes(PAPER, backbone_sizes(PAPER, Path.cwd()), 8)
    assert found["keys and values"] == 32 * 2 * 4096 * 2 * 2 * (656 + 8 * 135)


def test_checkpointing_keeps_one_state_a_block_and_pass_and_one_block() -> None:
    """Two prompts of 656 tokens, each with 8 answers of 135 behind it; both passes above the hook are kept for the gradient."""
    backbone = backbone_sizes(PAPER, Path.cwd())
    places, each = 2 * (656 + 8 * 135), 27 * 4096 + 4 * 4096 + 8 * 11008
    assert update_bytes(PAPER, backbone, 8)["language blocks"] == places * (2 * 16 * 4096 * 2 + each)
    assert update_bytes(with_runtime(gradient_checkpointing=False), backbone, 8)["language blocks"] == places * 2 * 16 * each
    held = with_joint(segmentation_gradient=0.0)
    assert not learns_from_masks(held.joint) and learns_from_masks(PAPER.joint)
    assert update_bytes(held, backbone, 8)["language blocks"] == places * (16 * 4096 * 2 + each)


def test_flash_attention_repeats_the_prompt_and_eager_attention_keeps_its_scores() -> None:
    backbone, each = backbone_sizes(PAPER, Path.cwd()), 27 * 4096 + 4 * 4096 + 8 * 11008
    repeated = 16 * 791
    assert update_bytes(with_runtime(attention="flash_attention_2"), backbone, 8)["language blocks"] == repeated * (
        2 * 16 * 4096 * 2 + each
    )
    scores = 2 * 2 * 32 * (656 + 8 * 135) ** 2 * 2
    eager, sdpa = (update_bytes(with_runtime(attention=name), backbone, 8)["language blocks"] for name in ("eager", "sdpa"))
    assert eager - sdpa == scores


def test_what_is_read_behind_the_policy_is_of_whole_sequences() -> None:
    found, tokens = update_bytes(PAPER, backbone_sizes(PAPER, Path.cwd()), 8), 16 * 791
    assert found["codes"] == tokens * 65536 * 9
    assert found["sequences"] == tokens * 4096 * (2 + 2 + 4 + 4)
    assert found["mask decoder"] == 16 * 6 * 64**2 * 256 * 24 * 4


def test_an_interface_keeps_sparse_codes_of_all_answers_and_dense_ones_of_a_batch() -> None:
    backbone, tokens = backbone_sizes(PAPER, Path.cwd()), 16 * 791
    sparse = interface_bytes(PAPER, backbone, PAPER.interface_variant("topk"), 1000)
    dense = interface_bytes(PAPER, backbone, PAPER.interface_variant("dense"), 1000)
    assert sparse["codes of all answers"] == 1000 * 791 * 64 * 8 and dense["codes of all answers"] == 0
    assert dense["codes of a batch"] == tokens * 65536 * 9
    trained = 18_358_784 + 3_251_394 + 4_684 + 4_058_340
    assert sparse["trained weights"] == sparse["gradients"] == 4 * trained and sparse["moments"] == 8 * trained
    assert sparse["frozen weights"] == 4 * 536_940_544 + 2 * 637_026_048
    assert sparse["mask decoder"] == 16 * 6 * 64**2 * 256 * 24 * 4
    smaller = interface_bytes(PAPER, backbone, PAPER.interface_variant("sam_vit_b"), 1000)
    assert sparse["frozen weights"] - smaller["frozen weights"] == 2 * (637_026_048 - 89_670_912)


def test_swept_and_copied_dictionaries_have_their_own_width_and_their_twins_sparsity() -> None:
    wide = PAPER.interface_variant("width_131072").model.sae
    assert (dictionary_width(PAPER, wide, 5120), dictionary_width(PAPER, "random", 5120)) == (131072, 65536)
    assert [active_concepts(PAPER, name) for name in ("topk", "dense", "random")] == [64, 65536, active_concepts(PAPER, "relu_l1")]


def test_a_warm_start_trains_the_policy_alone_on_one_answer_a_prompt() -> None:
    """8 GPUs share blocks 17 to 32, norm and head (16 x 202,383,360 + 4,096 + 131,334,144 weights) and 32 answers of 656 + 135 tokens."""
    backbone, (trained, places) = backbone_sizes(PAPER, Path.cwd()), ((16 * 202_383_360 + 4_096 + 131_334_144) // 8, 4 * 791)
    assert PAPER.warm_start is not None and PAPER.warm_start.prompts == 32
    found = warm_start_bytes(PAPER, backbone, PAPER.warm_start, 8)
    assert found["trained weights"] == found["gradients"] == 4 * trained and found["AdamW moments"] == 8 * trained
    assert found["language blocks"] == places * (16 * 4096 * 2 + 27 * 4096 + 4 * 4096 + 8 * 11008)
    assert found["sequences"] == places * 4096 * (2 + 4) and found["logits"] == 3 * 4 * 135 * 32064 * 4
    joint = state_bytes(PAPER, backbone, 8)
    assert "reference policy" not in found and found["frozen weights"] < joint["frozen weights"], "no reference, dictionary or SAM"
