"""Bytes of caches and of a policy, against the files that their writers leave."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from segcompass.backbone.build import save_vlm
from segcompass.footprint.disk import (
    cached_answer_bytes,
    cached_image_bytes,
    cached_target_bytes,
    policy_bytes,
    token_box_bytes,
    warm_start_resume_bytes,
)
from segcompass.footprint.sizes import backbone_sizes
from segcompass.joint.cached_answers import Answered, AnswersWriter
from segcompass.joint.cached_images import ImagesWriter
from tests.tiny import micro_study, tiny_vlm

STUDY = micro_study()
BACKBONE = backbone_sizes(STUDY, Path.cwd())
DTYPE = getattr(torch, STUDY.activations.dtype)


def held(folder: Path, kind: str) -> int:
    """Bytes of the tensors of all shards of a kind."""
    return sum(value.nbytes for path in folder.glob(f"{kind}-*.safetensors") for value in load_file(path).values())


def test_answers_of_several_layers(tmp_path: Path) -> None:
    """Three answers, as long as they may be, about two images."""
    writer, width = AnswersWriter(tmp_path, DTYPE), BACKBONE.language.width
    length = BACKBONE.vision.tokens + BACKBONE.prompt_text + STUDY.answer.longest
    for index, image in enumerate(("a.jpg", "b.jpg", "a.jpg")):
        owner = Answered(f"s{index}", "refcoco", "train", image, "", "ok")
        hidden = {layer: torch.zeros(length, width) for layer in (1, 2)}
        types, ids = torch.zeros(length, dtype=torch.uint8), torch.zeros(length, dtype=torch.long)
        references = torch.zeros(STUDY.answer.slots, width)
        writer.add(owner, hidden, types, ids, references, np.zeros((BACKBONE.vision.tokens, 4)))
    writer.close({"layers": [1, 2]})
    assert held(tmp_path, "answers") == 3 * cached_answer_bytes(STUDY, BACKBONE, 2)
    assert held(tmp_path, "boxes") == 2 * token_box_bytes(BACKBONE)


def test_embeddings_and_targets(tmp_path: Path) -> None:
    """Two images, and the two objects of one sample."""
    writer, sam = ImagesWriter(tmp_path, DTYPE), BACKBONE.segmenter
    side = 4 * sam.grid
    for name in ("a.jpg", "b.jpg"):
        writer.add_image(name, torch.zeros(sam.channels, sam.grid, sam.grid), torch.ones(side, side, dtype=torch.bool))
    writer.add_targets("s0", torch.zeros(2, side, side))
    writer.close({"segmenter": "sam"})
    assert held(tmp_path, "images") == 2 * cached_image_bytes(STUDY, sam)
    assert held(tmp_path, "targets") == cached_target_bytes(STUDY, sam, 2)


def test_a_policy_that_is_written_anew_and_the_resume_point_before_it(tmp_path: Path) -> None:
    """All weights in the study's dtype, here float32; what is trained above the hook with two moments of it."""
    vlm = tiny_vlm()
    save_vlm(tmp_path, vlm.model, vlm.processor)
    assert policy_bytes(STUDY, BACKBONE) == sum(value.nbytes for value in load_file(tmp_path / "model.safetensors").values())
    vlm.freeze_up_to(STUDY.activations.hook_layer)
    trained = sum(value.numel() for value in vlm.parameters() if value.requires_grad)
    assert warm_start_resume_bytes(STUDY, BACKBONE) == 3 * 4 * trained
