"""Untrained models of the smallest sizes, for tests of what drives them."""

from pathlib import Path

import numpy as np
import torch

from segcompass.backbone.build import build_processor, build_sam, build_tokenizer, build_vlm
from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.sam import SamSegmenter
from segcompass.joint.model import JointModel
from segcompass.sae.topk import TopKDictionary
from segcompass.study.backbone import EmbeddedBackbone
from segcompass.study.interface import ModelSettings
from segcompass.study.load import load_study
from segcompass.study.study import Study
from segcompass.world.instructions import vocabulary
from tests.instructions import instructions_under_test

SLOTS = 4


def micro_study() -> Study:
    """The study of seconds, whose sizes the models have, under the instruction set that the tests run under."""
    study = load_study(Path(__file__).parent / "workflow" / "micro.yaml")
    return study.model_copy(update={"runtime": study.runtime.model_copy(update={"instruction_set": instructions_under_test()})})


def tiny_vlm(seed: int = 0) -> LlavaModel:
    """LLaVA of the micro study, random weights."""
    torch.manual_seed(seed)
    backbone = micro_study().backbone
    assert isinstance(backbone, EmbeddedBackbone)
    tokenizer = build_tokenizer(vocabulary(), SLOTS)
    return LlavaModel(build_vlm(backbone.vlm, tokenizer), build_processor(backbone.vlm, tokenizer), SLOTS).eval()


def tiny_sam(seed: int = 0) -> SamSegmenter:
    """SAM of the micro study, random weights."""
    torch.manual_seed(seed)
    backbone = micro_study().backbone
    assert isinstance(backbone, EmbeddedBackbone)
    return SamSegmenter(build_sam(backbone.sam)).eval()


def tiny_dictionary() -> TopKDictionary:
    """An untrained dictionary for the hidden states of `tiny_vlm`."""
    backbone = micro_study().backbone
    assert isinstance(backbone, EmbeddedBackbone)
    dictionary = TopKDictionary(backbone.vlm.language.width, 64, 4, 0.0, 1000)
    dictionary.hook_layer = 2
    return dictionary


def tiny_joint(settings: ModelSettings | None = None, seed: int = 0) -> JointModel:
    """The joint model of the micro study, its dictionary untrained."""
    study = micro_study()
    vlm, sam = tiny_vlm(seed), tiny_sam(seed)
    return JointModel(vlm, sam, tiny_dictionary(), settings or study.interface.model, study.answer.max_thought_tokens)


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Noise images of several sizes and aspect ratios."""
    generator = np.random.default_rng(seed)
    sizes = [(96, 128), (128, 112), (160, 160), (112, 96)]
    return [generator.integers(0, 256, (*sizes[index % 4], 3), dtype=np.uint8) for index in range(count)]


def without_key_biases(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights whose gradient is more than rounding: adding a constant to every key changes no attention, and AdamW scales rounding up."""
    kept = {name: value for name, value in state.items() if not name.endswith("k_proj.bias")}
    for name in [name for name in kept if name.endswith("in_proj_bias")]:
        queries, _, values = kept.pop(name).chunk(3)
        kept |= {f"{name}.queries": queries, f"{name}.values": values}
    return kept
