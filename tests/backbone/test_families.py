"""Both families, loaded from folders as the published checkpoints lie there, agree with transformers' own forward pass and `generate`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from segcompass.backbone.interface import INSTRUCTION, OTHER, THOUGHT, VISUAL, HookStates, Prompts
from segcompass.backbone.load import load_vlm
from segcompass.backbone.prompt import prompt_parts
from segcompass.backbone.split import SplitModel
from tests.arithmetic import same_sums
from tests.checkpoints import SAVE
from tests.tiny import SLOTS, micro_study, pictures, tiny_vlm

pytestmark = pytest.mark.numerical

FAMILIES = ("embedded", "llava", "qwen")
WIDEST = 128
"""Inputs of the widest layer of these models, at most."""
TEXTS = ["left red ring", "the small white disc at the top", "star"]


def load(folder: Path) -> SplitModel:
    study = micro_study()
    vlm = load_vlm(folder, study.runtime, study.answer)
    assert isinstance(vlm, SplitModel)
    return vlm


@pytest.fixture(params=FAMILIES)
def vlm(request: pytest.FixtureRequest, folders: dict[str, Path]) -> SplitModel:
    return tiny_vlm() if request.param == "embedded" else load(folders[request.param])


def well_formed(vlm: SplitModel) -> tuple[torch.Tensor, torch.Tensor]:
    form, thought = vlm.special, [70, 71, 72]
    rows = [[form.open, *thought[:count], form.close, *[form.reference] * SLOTS, form.end] for count in (3, 1, 2)]
    ids = torch.tensor([row + [vlm.pad_id] * (len(rows[0]) - len(row)) for row in rows])
    return ids, torch.tensor([[index < len(row) for index in range(len(rows[0]))] for row in rows])


def whole_pass(vlm: SplitModel, prompts: Prompts, states: HookStates) -> Any:
    """transformers' forward pass, which finds positions of its own, over the same sequences."""
    kinds = {"mm_token_type_ids": (states.ids == vlm.image_id).int()} if states.positions.ndim == 3 else {"position_ids": states.positions}
    if states.positions.ndim == 3:
        vlm.model.model.rope_deltas = None
    return vlm.model(input_ids=states.ids, attention_mask=states.mask.long(), output_hidden_states=True, **kinds, **prompts.vision_inputs)


def test_hook_states_are_the_outputs_of_block_l_and_the_halves_make_the_whole(vlm: SplitModel) -> None:
    prompts = vlm.prompts(pictures(3), TEXTS)
    outputs: dict[int, torch.Tensor] = {}
    for index, block in enumerate(vlm.language.layers, 1):
        block.register_forward_hook(lambda module, given, out, index=index: outputs.__setitem__(index, out))
    for layer in range(1, vlm.depth + 1):
        vlm.freeze_up_to(layer)
        with torch.no_grad():
            states = vlm.lower(prompts, *well_formed(vlm))
            last = vlm.upper(states)
            outputs.clear()
            whole = whole_pass(vlm, prompts, states)
            keep = states.mask
            # The last entry of transformers' list has passed the final norm; block l's own output has not.
            reported = whole.hidden_states[layer] if layer < vlm.depth else outputs[layer]
            assert same_sums(states.hidden[keep], reported[keep], WIDEST, layer), layer
            assert same_sums(states.hidden[keep], outputs[layer][keep], WIDEST, layer), layer
            assert same_sums(vlm.model.lm_head(last)[keep], whole.logits[keep], WIDEST, vlm.depth), layer


@pytest.mark.parametrize("group", [1, 3])
def test_one_pass_over_several_layers_gives_what_a_pass_to_each_gives(vlm: SplitModel, group: int) -> None:
    count = 3 // group
    prompts = vlm.prompts(pictures(count), TEXTS[:count])
    ids, mask = well_formed(vlm)
    tokens: list[int] = []
    hooks = [block.register_forward_hook(lambda module, given, out: tokens.append(out.shape[1])) for block in vlm.language.layers]
    vlm.freeze_up_to(vlm.depth)
    found = vlm.passes(prompts, ids, mask, range(1, vlm.depth + 1))
    assert len(tokens) == vlm.depth, "each block runs once"
    for hook in hooks:
        hook.remove()
    assert [states.group for states in found] == [group] * vlm.depth
    for layer, states in enumerate(found, 1):
        (alone,) = vlm.passes(prompts, ids, mask, [layer])
        assert same_sums(states.hidden[states.mask], alone.hidden[alone.mask], WIDEST, layer), layer
        for name in ("mask", "token_types", "positions", "ids"):
            assert torch.equal(getattr(states, name), getattr(alone, name))
        vlm.freeze_up_to(layer)
        assert torch.equal(vlm.lower(prompts, ids, mask).hidden, alone.hidden)
        assert not states.hidden.requires_grad and states.prompt_length == alone.prompt_length == prompts.ids.shape[1]
    assert not torch.allclose(found[0].hidden, found[1].hidden)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_answers_packed_behind_one_prompt_are_those_behind_repeated_prompts(vlm: SplitModel, attention: str) -> None:
    vlm.language.config._attn_implementation = attention
    vlm.freeze_up_to(1)
    images, texts = pictures(2), TEXTS[:2]
    ids, mask = (part.repeat_interleave(3, 0)[:6] for part in well_formed(vlm))
    ids[1, 2] = ids[4, 1] = ids[5, 1] = 75  # of each prompt's three answers two are the same
    packed, repeated = vlm.prompts(images, texts), vlm.prompts([images[i // 3] for i in range(6)], [texts[i // 3] for i in range(6)])
    gradients = []
    for prompts, group in ((packed, 3), (repeated, 1)):
        vlm.zero_grad()
        states = vlm.lower(prompts, ids, mask)
        assert states.group == group
        last = vlm.upper(states)
        vlm.answer_log_probs(last, states, 1.0)[mask].sum().backward()
        found = [parameter.grad.clone() for parameter in vlm.parameters() if parameter.grad is not None]
        gradients.append((states.hidden[states.mask].clone(), last[states.mask].detach(), found))
    (hidden, last, ours), (expected_hidden, expected_last, theirs) = gradients
    assert same_sums(hidden, expected_hidden, WIDEST) and same_sums(last, expected_last, WIDEST, vlm.depth)
    assert len(ours) == len(theirs) > 5
    assert all(same_sums(a, b, WIDEST, 2 * vlm.depth) for a, b in zip(ours, theirs, strict=True))


def test_answers_that_are_the_same_are_run_once(vlm: SplitModel) -> None:
    vlm.freeze_up_to(1)
    prompts = vlm.prompts(pictures(2), TEXTS[:2])
    ids, mask = (part.repeat_interleave(3, 0)[:6] for part in well_formed(vlm))
    ids[5, 1] = 75
    tokens = []
    hook = vlm.language.layers[-1].register_forward_hook(lambda module, given, out: tokens.append(out.shape[1]))
    with torch.no_grad():
        vlm.upper(vlm.lower(prompts, ids, mask))
    hook.remove()
    lengths = mask.sum(1).tolist()
    assert tokens == [prompts.ids.shape[1] + max(lengths[0], lengths[3] + lengths[5])]


def test_rollouts_that_drew_the_same_words_are_one_branch(vlm: SplitModel) -> None:
    prompts = vlm.prompts(pictures(2), TEXTS[:2])
    widths: list[int] = []
    block = vlm.language.layers[0].register_forward_hook(lambda module, given, out: widths.append(out.shape[1]))
    greedy = vlm.generate(prompts, 4, None, 6, None)
    assert set(widths[1:]) == {1}, "greedy rollouts never part"
    widths.clear()
    sampled = vlm.generate(prompts, 4, 1.0, 6, torch.Generator().manual_seed(3))
    block.remove()
    grouped = sampled.answers.view(2, 4, -1)
    for step, width in enumerate(widths[1:], 1):
        running = [{tuple(ids[:step].tolist()) for ids in group if vlm.end_id not in ids[:step]} for group in grouped]
        assert width == max(map(len, running)), step
    assert greedy.answers.shape[0] == len(sampled.answers) == 8


def test_sampling_leaves_the_states_at_the_hook_behind(vlm: SplitModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcompass.backbone.generation.WORTH_DROPPING", 0.01)
    vlm.freeze_up_to(1)
    prompts = vlm.prompts(pictures(2), TEXTS[:2])
    vlm.end_id = int(vlm.generate(prompts, 3, 0.7, 8, torch.Generator().manual_seed(0)).answers[0, 2])  # some end early
    rollouts = vlm.generate(prompts, 3, 0.7, 8, torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = vlm.lower(prompts, rollouts.answers, rollouts.answer_mask)
        found = vlm.rollout_states(prompts, rollouts)
        assert torch.equal(found.ids, expected.ids) and torch.equal(found.token_types, expected.token_types)
        followed = expected.mask.clone()
        followed[:, prompts.ids.shape[1] : -1] &= rollouts.answer_mask[:, 1:]
        followed[:, -1] = False
        assert followed.sum() > expected.mask[:, : prompts.ids.shape[1]].sum() + 6
        assert same_sums(found.hidden[followed], expected.hidden[followed], WIDEST)
        log_probs = [vlm.answer_log_probs(vlm.upper(states), states, 0.7)[rollouts.answer_mask] for states in (found, expected)]
    assert same_sums(*log_probs, WIDEST, vlm.depth)


def test_greedy_decoding_from_the_shared_prefix_is_that_of_generate(vlm: SplitModel) -> None:
    prompts = vlm.prompts(pictures(2), TEXTS[:2])
    ours = vlm.generate(prompts, 2, None, 12, None)
    theirs = generated(vlm, prompts, 1, do_sample=False, max_new_tokens=12)
    for rollout in range(4):
        words = ours.answers[rollout][ours.answer_mask[rollout]]
        assert torch.equal(words, theirs[rollout // 2][: len(words)])
    assert ours.answer_mask.sum() > 8


def test_sampling_reports_the_log_probabilities_of_its_own_distribution(vlm: SplitModel) -> None:
    vlm.freeze_up_to(1)
    prompts = vlm.prompts(pictures(2), TEXTS[:2])
    rollouts = vlm.generate(prompts, 3, 0.7, 8, torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = vlm.lower(prompts, rollouts.answers, rollouts.answer_mask)
        log_probs = vlm.answer_log_probs(vlm.upper(states), states, 0.7)
    assert same_sums(log_probs[rollouts.answer_mask], rollouts.log_probs[rollouts.answer_mask], WIDEST, vlm.depth)
    again = vlm.generate(prompts, 3, 0.7, 8, torch.Generator().manual_seed(0))
    assert torch.equal(rollouts.answers, again.answers)
    assert len({tuple(ids) for ids in rollouts.answers[:3].tolist()}) > 1, "rollouts of one prompt differ"


def generated(vlm: SplitModel, prompts: Prompts, group: int, **how: Any) -> torch.Tensor:
    """Answers of transformers' own `generate` for every prompt repeated `group` times."""
    vision, visual = prompts.vision_inputs, (prompts.ids == vlm.image_id).int().repeat_interleave(group, 0)
    if prompts.positions.ndim == 3:
        pixels = vision["pixel_values"].split(vision["image_grid_thw"].prod(1).tolist())
        vision = {
            "pixel_values": torch.cat([part for part in pixels for _ in range(group)]),
            "image_grid_thw": vision["image_grid_thw"].repeat_interleave(group, 0),
            "mm_token_type_ids": visual,
        }
    else:
        vision = {"pixel_values": vision["pixel_values"].repeat_interleave(group, 0)}
    ids, mask = (part.repeat_interleave(group, 0) for part in (prompts.ids, prompts.mask.long()))
    how |= {"pad_token_id": vlm.pad_id, "eos_token_id": vlm.end_id, "top_k": 0}
    return vlm.model.generate(input_ids=ids, attention_mask=mask, **vision, **how)[:, ids.shape[1] :]


@pytest.mark.parametrize(("count", "group"), [(1, 3), (3, 1), (3, 4)])
def test_sampling_draws_what_generate_draws_from_the_same_seed(
    vlm: SplitModel, count: int, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer ends early, and its place is dropped, which changes no other answer."""
    monkeypatch.setattr("segcompass.backbone.generation.WORTH_DROPPING", 0.01)
    prompts = vlm.prompts(pictures(count), TEXTS[:count])
    sampling = {"do_sample": True, "temperature": 0.7, "max_new_tokens": 10}
    torch.manual_seed(5)
    vlm.end_id = int(generated(vlm, prompts, group, **sampling)[0, 2])
    torch.manual_seed(5)
    theirs = generated(vlm, prompts, group, **sampling)
    places: list[int] = []
    vlm.language.layers[0].register_forward_pre_hook(lambda block, given: places.append(given[0].shape[0] * given[0].shape[1]))
    ours = vlm.generate(prompts, group, 0.7, 10, torch.Generator().manual_seed(5))
    assert torch.equal(ours.answers, theirs[:, : ours.answers.shape[1]])
    assert places[1] == count * group
    if 1 in (count, group):
        assert places[-1] < places[1]


def test_an_ended_rollout_stays_ended_while_others_go_on(vlm: SplitModel) -> None:
    prompts = vlm.prompts(pictures(2), TEXTS[:2])
    free = vlm.generate(prompts, 4, 1.0, 8, torch.Generator().manual_seed(1))
    vlm.end_id = int(free.answers[0, 2])
    stopped = vlm.generate(prompts, 4, 1.0, 8, torch.Generator().manual_seed(1))
    for ours, mask, unstopped in zip(stopped.answers.tolist(), stopped.answer_mask, free.answers.tolist(), strict=True):
        length = unstopped.index(vlm.end_id) + 1 if vlm.end_id in unstopped else 8
        assert ours[:length] == unstopped[:length] and int(mask.sum()) == length
        assert set(ours[length:]) <= {vlm.pad_id}
    assert stopped.answer_mask[0].sum() == 3


def test_token_types_mark_every_position(vlm: SplitModel) -> None:
    prompts = vlm.prompts(pictures(3), TEXTS)
    states = vlm.lower(prompts, *well_formed(vlm))
    types, length = states.token_types, states.prompt_length
    assert types[0, length:].tolist() == [THOUGHT] * 5 + [OTHER] * (SLOTS + 1)
    assert types[1, length:].tolist() == [THOUGHT] * 3 + [OTHER] * (SLOTS + 3)
    visual = (types[:, :length] == VISUAL).sum(1).tolist()
    assert visual == [len(vlm.token_boxes(*picture.shape[:2])) for picture in pictures(3)]
    assert (types[:, :length][~prompts.mask] == OTHER).all() and (types[:, :length][prompts.mask] != OTHER).all()
    assert ((types[:, :length] == INSTRUCTION).sum(1) > 3).all()
    assert states.order[0][states.mask[0]].tolist() == list(range(int(states.mask[0].sum())))


def test_flash_attention_samples_with_the_block_mask_of_sdpa(folders: dict[str, Path]) -> None:
    vlm = load(folders["qwen"])
    prompts = vlm.prompts(pictures(2), TEXTS[:2])
    wanted = vlm.generate(prompts, 2, None, 6, None)
    vlm.language.config._attn_implementation = "flash_attention_2"
    assert torch.equal(vlm.generate(prompts, 2, None, 6, None).answers, wanted.answers)
    assert vlm.language.config._attn_implementation == "flash_attention_2"


def test_images_of_different_sizes_in_a_batch_are_each_as_alone(folders: dict[str, Path]) -> None:
    vlm = load(folders["qwen"])
    vlm.freeze_up_to(2)
    small, wide = pictures(1)[0][:56, :60], np.concatenate([pictures(1)[0]] * 3, 1)
    ids, mask = (part[:2] for part in well_formed(vlm))
    together = vlm.lower(vlm.prompts([small, wide], TEXTS[:2]), ids, mask)
    counts = []
    for index, picture in enumerate((small, wide)):
        alone = vlm.lower(vlm.prompts([picture], [TEXTS[index]]), ids[index : index + 1], mask[index : index + 1])
        valid = together.mask[index]
        assert same_sums(together.hidden[index][valid], alone.hidden[0][alone.mask[0]], WIDEST, 2)
        assert torch.equal(together.positions[:, index][:, valid], alone.positions[:, 0][:, alone.mask[0]])
        counts.append(int((alone.token_types == VISUAL).sum()))
    # 56 x 60 scales to 2 x 2 tokens of 28 pixels; 96 x 384 to 3 x 14.
    assert counts == [4, 42]


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 1), (3, 5), (5, 3), (1, 200), (200, 1), (3, 600)])
def test_pictures_of_a_few_rows_keep_their_colours_and_their_boxes(vlm: SplitModel, size: tuple[int, int]) -> None:
    colour = np.array([250, 200, 150], np.uint8)
    prompts = vlm.prompts([np.full((*size, 3), colour)], ["ring"])
    pixels = prompts.vision_inputs["pixel_values"]
    by_channel = pixels.transpose(0, 1).flatten(1) if pixels.ndim == 4 else pixels.view(len(pixels), 3, -1).transpose(0, 1).flatten(1)
    processor = vlm.processor.image_processor
    expected = (colour / 255 - np.array(processor.image_mean)) / np.array(processor.image_std)
    found = by_channel.amax(1).numpy().astype(float)
    if getattr(processor, "do_pad", False):  # a thin stripe is blended with the grey around it, which shortens its distance from grey
        found, expected = found / found[0], expected / expected[0]
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.02), "padding is darker"
    assert int((prompts.ids == vlm.image_id).sum()) == len(vlm.token_boxes(*size))
    with torch.no_grad():
        vlm.lower(prompts, *(part[:1] for part in well_formed(vlm)))


def test_visual_tokens_lie_where_their_boxes_say(folders: dict[str, Path]) -> None:
    vlm = load(folders["qwen"])
    image = np.zeros((112, 168, 3), np.uint8)
    boxes = vlm.token_boxes(112, 168)
    assert boxes.shape == (24, 4)
    dark = vlm.prompts([image], [""]).vision_inputs["pixel_values"]
    for token, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
        lit = image.copy()
        lit[y0:y1, x0:x1] = 255
        changed = (vlm.prompts([lit], [""]).vision_inputs["pixel_values"] != dark).any(1).nonzero()[:, 0].tolist()
        assert changed == [4 * token, 4 * token + 1, 4 * token + 2, 4 * token + 3], "the four patches that one token merges"


def test_a_centre_crop_leaves_boxes_inside_the_part_that_is_seen(folders: dict[str, Path]) -> None:
    vlm = load(folders["llava"])
    image = np.zeros((56, 112, 3), np.uint8)
    boxes = vlm.token_boxes(56, 112)
    # The square in the middle of 112 x 56 spans columns 28 … 84.
    assert boxes.min(0).tolist() == [28, 0, 42, 14] and boxes.max(0).tolist() == [70, 42, 84, 56]
    dark = vlm.prompts([image], [""]).vision_inputs["pixel_values"]
    image[:, :28], image[:, 84:] = 255, 255
    assert torch.equal(vlm.prompts([image], [""]).vision_inputs["pixel_values"], dark)


@pytest.mark.parametrize("family", ["llava", "qwen"])
def test_prompts_of_pretrained_checkpoints_go_through_their_chat_template(family: str, folders: dict[str, Path]) -> None:
    vlm = load(folders[family])
    text = vlm.text(vlm.prompts(pictures(1), ["left red ring"]).ids[0])
    start = (
        "<s>USER: <image>"
        if family == "llava"
        else "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    )
    end = " ASSISTANT:" if family == "llava" else "<|im_end|>\n<|im_start|>assistant\n"
    assert text.startswith(start) and text.endswith(end)
    assert "left red ring" in text and f"<REF_POS> exactly {SLOTS} times" in text


def test_the_wording_of_the_embedded_backbone_is_fixed() -> None:
    assert prompt_parts("star", 4) == ("USER: <image>", "star ( think then 4 masks ) ASSISTANT:")
    vlm = tiny_vlm()
    words = vlm.text(vlm.prompts(pictures(1), ["star"]).ids[0]).split()
    assert words == ["USER:", *["<image>"] * 64, "star", "(", "think", "then", "4", "masks", ")", "ASSISTANT:"]


@pytest.mark.parametrize("family", ["llava", "qwen"])
@pytest.mark.parametrize("padded", [True, False])
def test_tokens_of_the_form_are_added_without_shrinking_a_matrix(family: str, padded: bool, tmp_path: Path) -> None:
    SAVE[family](tmp_path, padded=padded)
    before = load(tmp_path)
    plain = type(before.model).from_pretrained(tmp_path)
    old = {"embedding": plain.get_input_embeddings().weight, "head": plain.lm_head.weight}
    new = {"embedding": before.model.get_input_embeddings().weight, "head": before.model.lm_head.weight}
    form = [before.special.open, before.special.close, before.special.reference]
    assert len(set(form)) == 3 and before.processor.tokenizer.convert_ids_to_tokens(form) == ["<think>", "</think>", "<REF_POS>"]
    spelt = [before.processor.tokenizer.convert_tokens_to_ids(list(token)) for token in ("<think>", "</think>", "<REF_POS>")]
    for name, matrix in new.items():
        assert len(matrix) == len(old[name]) + (0 if padded else 3), name
        others = [row for row in range(len(old[name])) if row not in form]
        assert torch.equal(matrix[others], old[name][others]), name
        for token, pieces in zip(form, spelt, strict=True):
            assert same_sums(matrix[token], old[name][pieces].mean(0), len(pieces)), name
    assert before.model.config.text_config.vocab_size == len(new["head"])
    assert torch.equal(load(tmp_path).model.lm_head.weight, new["head"]), "the same rows every time"


@pytest.mark.parametrize("family", ["llava", "qwen"])
@pytest.mark.parametrize("padded", [True, False])
def test_training_a_tied_head_leaves_the_embeddings_as_they_are(family: str, padded: bool, tmp_path: Path) -> None:
    SAVE[family](tmp_path, padded=padded, tied=True)
    plain = type(load(tmp_path).model).from_pretrained(tmp_path)
    assert plain.lm_head.weight is plain.get_input_embeddings().weight, "tied in the checkpoint"
    vlm = load(tmp_path)
    vlm.freeze_up_to(1)
    assert torch.equal(vlm.model.lm_head.weight, vlm.model.get_input_embeddings().weight)
    before = vlm.model.get_input_embeddings().weight.clone()
    with torch.no_grad():
        for parameter in vlm.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    assert torch.equal(vlm.model.get_input_embeddings().weight, before)
    assert not torch.equal(vlm.model.lm_head.weight, before)


def test_positions_of_an_answer_follow_those_of_get_rope_index(folders: dict[str, Path]) -> None:
    vlm = load(folders["qwen"])
    model = vlm.model
    assert isinstance(model, Qwen2_5_VLForConditionalGeneration)
    prompts = vlm.prompts(pictures(3), TEXTS)
    states = vlm.lower(prompts, *well_formed(vlm))
    whole, _ = model.model.get_rope_index(
        states.ids, (states.ids == vlm.image_id).int(), prompts.vision_inputs["image_grid_thw"], attention_mask=states.mask.long()
    )
    keep = states.mask.expand(3, -1, -1)
    assert torch.equal(states.positions[keep], whole[keep])
    assert not torch.equal(whole[0][states.mask], whole[1][states.mask]), "rows of an image differ from its time"
