"""The shipped backbone is the one that its card describes, and plain transformers loads it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segcompass.backbone.card import SAM_SAYS, card_text, file_digests, part_recipe
from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.backbone.split import SplitModel
from segcompass.backbone.training.scores import sam_score
from segcompass.study.backbone import EmbeddedBackbone
from segcompass.study.jobs import Job, stage_params
from segcompass.study.load import load_study
from tests.tiny import pictures

FOLDER = Path("backbones/embedded")
CARD = json.loads((FOLDER / "card.json").read_text())
STUDY = load_study(Path("params/default.yaml"))
PARTS = ["vlm", *STUDY.backbone.segmenters]
SAMS = STUDY.backbone.segmenters


def test_the_card_has_every_part_of_the_default_study() -> None:
    assert list(CARD) == PARTS


@pytest.mark.parametrize("part", PARTS)
def test_files_are_those_of_the_card(part: str) -> None:
    assert file_digests(FOLDER / part) == CARD[part]["files"]


@pytest.mark.parametrize("part", SAMS[1:])
def test_smaller_sams_began_from_the_shipped_one(part: str) -> None:
    assert CARD[part]["begun from"] == CARD["sam"]["files"]["model.safetensors"]


def test_the_page_shows_the_card() -> None:
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == card_text(CARD)


@pytest.mark.parametrize("part", PARTS)
def test_the_recipe_of_the_card_is_that_of_the_default_study(part: str) -> None:
    """But for the data that it was scored on, which may have other scenes since."""
    assert isinstance(STUDY.backbone, EmbeddedBackbone)
    built = STUDY.model_copy(update={"backbone": STUDY.backbone.model_copy(update={"source": "build"})})
    expected = part_recipe(stage_params(built, Job("train_backbone")), part)
    assert {key: value for key, value in CARD[part]["recipe"].items() if key != "data"} == {
        key: value for key, value in expected.items() if key != "data"
    }


def test_a_larger_sam_sees_more() -> None:
    """What Table 5 needs: each step in size shows in every probe of the embedding. Masks from a prompt that says where the object is are
    best with the largest; the two smaller ones are within a point of each other, because outlines are a local matter."""
    for score in SAM_SAYS:
        largest, *others = [CARD[name]["scores"][sam_score(score, name)] for name in SAMS]
        assert largest > max(others), score
        if score != "mask_iou":
            assert others == sorted(set(others), reverse=True), score


def test_transformers_loads_and_generates_without_our_code() -> None:
    code = f"""
import numpy as np, torch
from PIL import Image
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.sam.modeling_sam import SamModel
model = LlavaForConditionalGeneration.from_pretrained("{FOLDER}/vlm")
processor = LlavaProcessor.from_pretrained("{FOLDER}/vlm")
image = Image.fromarray(np.full((128, 96, 3), 90, np.uint8))
inputs = processor(images=[image], text=["USER: <image> left red ring ( think then 4 masks ) ASSISTANT:"], return_tensors="pt")
print(processor.tokenizer.decode(model.generate(**inputs, max_new_tokens=30, do_sample=False)[0]))
for name in {SAMS}:
    sam = SamModel.from_pretrained("{FOLDER}/" + name)
    print(name, tuple(sam.vision_encoder(torch.zeros(1, 3, 128, 128)).last_hidden_state.shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "<think>" in done.stdout and "</think> <REF_POS> <REF_POS> <REF_POS> <REF_POS>" in done.stdout
    assert all(f"{name} (1, 64, 16, 16)" in done.stdout for name in SAMS)


def test_our_doors_open_it_too() -> None:
    vlm = load_vlm(FOLDER / "vlm", STUDY.runtime, STUDY.answer)
    prompts = vlm.prompts(pictures(1), ["left red ring"])
    assert vlm.generate(prompts, 1, None, STUDY.answer.longest, None).answers.shape[0] == 1
    for name in SAMS:
        sam = load_segmenter(FOLDER / name, STUDY.runtime)
        embedding = sam.embed(sam.inputs(pictures(1)))
        assert embedding.shape == torch.Size([1, 64, 16, 16])
        assert sam.decode(embedding, torch.zeros(1, 4, 64, 64)).shape == torch.Size([1, 4, 64, 64])


def test_real_answers_of_different_lengths_are_those_of_generate_from_the_same_seed() -> None:
    vlm = load_vlm(FOLDER / "vlm", STUDY.runtime, STUDY.answer)
    assert isinstance(vlm, SplitModel)
    texts = ["left red ring", "all blue objects", "the small disc that is above the green star", "star and the yellow cross"]
    prompts = vlm.prompts(pictures(4), texts)
    places: list[tuple[int, ...]] = []
    handle = vlm.language.layers[0].register_forward_pre_hook(lambda block, given: places.append(tuple(given[0].shape[:2])))
    ours = vlm.generate(prompts, 4, 1.0, STUDY.answer.longest, torch.Generator().manual_seed(0))
    handle.remove()
    torch.manual_seed(0)
    theirs = vlm.model.generate(
        input_ids=prompts.ids.repeat_interleave(4, 0),
        attention_mask=prompts.mask.long().repeat_interleave(4, 0),
        pixel_values=prompts.vision_inputs["pixel_values"].repeat_interleave(4, 0),
        do_sample=True,
        top_k=0,
        max_new_tokens=STUDY.answer.longest,
    )[:, prompts.ids.shape[1] :]
    assert torch.equal(ours.answers, theirs)
    first_words = max(len(set(ids.tolist())) for ids in ours.answers[:, 0].view(4, 4))
    assert places[1] == (4, first_words), "rollouts that agree are one place"
    assert places[-1][0] < 4, "places of ended prompts are dropped"
