"""The embedded LLaVA, the form of answers, and SAM behind their interfaces."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.backbone.prompt import SpecialIds, canonical, status_of
from segcompass.backbone.training.language import encode_text, pack, packed_loss
from segcompass.backbone.training.vision import tower_features
from segcompass.errors import InputError
from tests.arithmetic import same_sums
from tests.tiny import micro_study, pictures, tiny_sam, tiny_vlm

pytestmark = pytest.mark.numerical

TEXTS = ["left red ring", "the small white disc at the top", "star"]


def test_a_reference_copy_stands_in_and_the_own_weights_come_back() -> None:
    vlm = tiny_vlm()
    vlm.freeze_up_to(2)
    copy = vlm.reference_copy()
    prompts = vlm.prompts(pictures(1), TEXTS[:1])
    ids = torch.tensor([[20, 21]])
    with torch.no_grad():
        states = vlm.lower(prompts, ids, torch.ones_like(ids, dtype=torch.bool))
        before = vlm.upper(states)
        vlm.model.model.language_model.norm.weight.mul_(2)
        assert not torch.allclose(vlm.upper(states), before)
        with vlm.using(copy):
            assert torch.equal(vlm.upper(states), before)
        assert not torch.allclose(vlm.upper(states), before)
    assert not any(parameter.requires_grad for parameter in copy.parameters())


def test_packed_texts_do_not_see_each_other() -> None:
    vlm = tiny_vlm()
    prefix = vlm.processor.tokenizer.encode("USER: " + "<image> " * 64, add_special_tokens=False)
    texts = [encode_text(vlm, text, "target : small red plain ring at left") for text in TEXTS]
    pixels = vlm.prompts(pictures(1), [""]).vision_inputs["pixel_values"]
    with torch.no_grad():
        visual = vlm.model.model.multi_modal_projector(tower_features(vlm, pixels))
        assert visual.shape == (1, 64, vlm.hidden_width)
        together = packed_loss(vlm, pack(prefix, [texts], vlm.pad_id), visual)
        alone = [packed_loss(vlm, pack(prefix, [[text]], vlm.pad_id), visual) for text in texts]
    assert same_sums(together, torch.stack(alone).mean(), terms=64, layers=vlm.depth)  # answers of one length weigh alike


@pytest.mark.parametrize(
    ("ids", "status"),
    [
        ([1, 9, 2, 3, 3, 4], "ok"),
        ([9, 2, 3, 3, 4], "no thought"),
        ([1, 9, 3, 3, 4], "open thought"),
        ([1, 9, 2, 3, 4], "reference count"),
        ([1, 9, 2, 3, 3, 3, 4], "reference count"),
        ([1, 3, 2, 3, 3, 4], "reference count"),
        ([1, 9, 2, 3, 3], "no end"),
        ([], "no thought"),
    ],
)
def test_the_form_of_an_answer(ids: list[int], status: str) -> None:
    special = SpecialIds(open=1, close=2, reference=3, end=4, slots=2)
    assert status_of(ids, special) == status
    assert status_of(canonical(ids, special), special) == "ok"


def test_sam_masks_return_to_the_image_they_came_from() -> None:
    sam = tiny_sam()
    mask = np.zeros((96, 160), bool)
    mask[20:60, 30:100] = True
    low = sam.to_low_resolution(mask)
    assert low.shape == (sam.mask_side, sam.mask_side) and float(low.max()) <= 1
    back = sam.to_image(20 * (low[None] - 0.5), (96, 160))[0]
    assert (back & mask).sum() / (back | mask).sum() > 0.95
    inputs = sam.inputs([np.zeros((96, 160, 3), np.uint8)])
    assert not low[~inputs.valid[0]].any(), "nothing lies in the padding"
    assert inputs.valid[0].float().mean() == pytest.approx(96 / 160, abs=0.03)


def test_all_slots_are_decoded_as_each_alone() -> None:
    sam = tiny_sam()
    embeddings = sam.embed(sam.inputs(pictures(2)))
    heat = torch.randn(2, 3, sam.mask_side, sam.mask_side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = sam.decode(embeddings, heat)
        alone = torch.cat([sam.decode(embeddings, heat[:, k : k + 1]) for k in range(3)], 1)
    assert same_sums(together, alone, terms=64, layers=2)


def test_token_boxes_tile_the_image() -> None:
    boxes = tiny_vlm().token_boxes(96, 160).round(6)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert areas.sum() == pytest.approx(96 * 160)
    assert (areas == 0).sum() == 8 * 2, "two rows of patches lie in the padding"  # 32 of 160 rows above, 32 below, 20 pixels a patch


def test_a_missing_or_foreign_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    study = micro_study()
    with pytest.raises(InputError, match=r"config\.json"):
        load_vlm(tmp_path, study.runtime, study.answer)
    with pytest.raises(InputError, match=r"config\.json"):
        load_segmenter(tmp_path, study.runtime)
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    with pytest.raises(InputError, match="model_type: is 'mistral'; take a model of llava, qwen2_5_vl"):
        load_vlm(tmp_path, study.runtime, study.answer)
    with pytest.raises(InputError, match="take a model of sam"):
        load_segmenter(tmp_path, study.runtime)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load_vlm(tmp_path, study.runtime, study.answer)
