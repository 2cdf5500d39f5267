"""What drives LLaVA and SAM agrees with transformers' own forward passes."""

import numpy as np
import pytest
import torch

from segcompass.backbone.interface import INSTRUCTION, OTHER, THOUGHT, VISUAL
from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.backbone.prompt import SpecialIds, canonical, status_of
from segcompass.backbone.training.language import encode_text, pack, packed_loss
from segcompass.errors import InputError
from segcompass.joint.rollouts import answer
from tests.tiny import SLOTS, micro_study, pictures, tiny_sam, tiny_vlm

TEXTS = ["left red ring", "the small white disc at the top", "star"]


def test_hook_states_and_upper_blocks_are_those_of_the_whole_model() -> None:
    vlm = tiny_vlm()
    vlm.freeze_up_to(2)
    prompts = vlm.prompts(pictures(3), TEXTS)
    with torch.no_grad():
        answers = answer(vlm, prompts, 1, None, 9, None)
        states = vlm.lower(prompts, answers.ids, answers.mask)
        whole = vlm.model(
            input_ids=states.ids,
            attention_mask=states.mask.long(),
            position_ids=states.positions,
            pixel_values=prompts.vision_inputs["pixel_values"],
            output_hidden_states=True,
        )
        keep = states.mask
        assert torch.allclose(states.hidden[keep], whole.hidden_states[2][keep], atol=1e-5)
        logits = vlm.model.lm_head(vlm.upper(states))
    assert torch.allclose(logits[keep], whole.logits[keep], atol=1e-4)


def test_sampling_reports_the_log_probabilities_of_its_own_distribution() -> None:
    vlm = tiny_vlm()
    vlm.freeze_up_to(1)
    prompts = vlm.prompts(pictures(2), TEXTS[:2])
    rollouts = vlm.generate(prompts, 3, 0.7, 8, torch.Generator().manual_seed(0))
    assert rollouts.answers.shape[0] == 6
    with torch.no_grad():
        states = vlm.lower(prompts, rollouts.answers, rollouts.answer_mask)
        log_probs = vlm.answer_log_probs(vlm.upper(states), states, 0.7)
    assert torch.allclose(log_probs[rollouts.answer_mask], rollouts.log_probs[rollouts.answer_mask], atol=1e-4)
    again = vlm.generate(prompts, 3, 0.7, 8, torch.Generator().manual_seed(0))
    assert torch.equal(rollouts.answers, again.answers)
    assert len({tuple(ids) for ids in rollouts.answers[:3].tolist()}) > 1, "rollouts of one prompt differ"


def test_a_shared_prefix_decodes_what_transformers_generates_greedily() -> None:
    vlm = tiny_vlm()
    prompts = vlm.prompts(pictures(2), TEXTS[:2])
    ours = vlm.generate(prompts, 2, None, 8, None)
    theirs = vlm.model.generate(
        input_ids=prompts.ids,
        attention_mask=prompts.mask.long(),
        pixel_values=prompts.vision_inputs["pixel_values"],
        do_sample=False,
        max_new_tokens=8,
        pad_token_id=vlm.pad_id,
        eos_token_id=vlm.end_id,
    )[:, prompts.ids.shape[1] :]
    for index in range(2):
        for rollout in (2 * index, 2 * index + 1):
            words = ours.answers[rollout][ours.answer_mask[rollout]]
            assert torch.equal(words, theirs[index][: len(words)])


def test_token_types_mark_every_position() -> None:
    vlm = tiny_vlm()
    prompts = vlm.prompts(pictures(2), TEXTS[1:])
    special = vlm.special
    ids = torch.tensor([[special.open, 20, 21, special.close, *[special.reference] * SLOTS, special.end]] * 2)
    types = vlm.lower(prompts, ids, torch.ones_like(ids, dtype=torch.bool)).token_types
    length = prompts.ids.shape[1]
    assert (types[:, length:] == torch.tensor([THOUGHT] * 4 + [OTHER] * (SLOTS + 1))).all()
    assert ((types[:, :length] == VISUAL).sum(1) == 64).all()
    assert (types[:, :length][prompts.mask] != OTHER).all() and (types[:, :length][~prompts.mask] == OTHER).all()
    assert (types[0] == INSTRUCTION).sum() > 3


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
        together = packed_loss(vlm, pack(prefix, [texts], vlm.pad_id), pixels)
        alone = [packed_loss(vlm, pack(prefix, [[text]], vlm.pad_id), pixels) for text in texts]
    assert float(together) == pytest.approx(float(torch.stack(alone).mean()), abs=1e-4)  # answers of one length weigh alike


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
    assert torch.allclose(together, alone, atol=1e-4)


def test_token_boxes_tile_the_image() -> None:
    boxes = tiny_vlm().token_boxes(96, 160).round(6)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert areas.sum() == pytest.approx(96 * 160)
    assert (areas == 0).sum() == 8 * 2, "two rows of patches lie in the padding"  # 32 of 160 rows above, 32 below, 20 pixels a patch


def test_a_missing_checkpoint_is_one_sentence(tmp_path) -> None:  # type: ignore[no-untyped-def]
    study = micro_study()
    with pytest.raises(InputError, match=r"config\.json"):
        load_vlm(tmp_path, study.runtime, study.answer)
    with pytest.raises(InputError, match=r"config\.json"):
        load_segmenter(tmp_path, study.runtime)
