"""Losses, rewards, matching and GRPO against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcompass.joint.grpo import clip_fraction, low_variance_kl, policy_loss, token_mean
from segcompass.joint.losses import dice, focal, masked_bce
from segcompass.joint.matching import match, soft_iou
from segcompass.joint.rewards import LEAST_SPREAD, advantages, as_tensor, live_groups, mask_reward
from segcompass.joint.supervision import confidence_loss, heat_losses, mask_losses, matched_pairs
from segcompass.study.interface import SegmentationSettings


def grid(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([list(rows)])


def test_masked_bce_leaves_the_padding_out() -> None:
    # Logit 0 costs ln 2 whatever the target; the pixel with logit 50 and target 0 would cost 50 but is padding.
    loss = masked_bce(grid([0.0, 50.0]), grid([1.0, 0.0]), grid([1.0, 0.0]))
    assert loss == pytest.approx(math.log(2))


def test_dice_by_hand() -> None:
    # p = (1/2, 1/2), t = (1, 0): overlap 2 * 1/2 + 1 = 2, sum 1 + 1 + 1 = 3, loss 1 - 2/3.
    assert dice(grid([0.0, 0.0]), grid([1.0, 0.0]), grid([1.0, 1.0])) == pytest.approx(1 / 3)
    # With the second pixel in the padding: overlap 2, sum 1/2 + 1 + 1 = 5/2, loss 1/5.
    assert dice(grid([0.0, 0.0]), grid([1.0, 0.0]), grid([1.0, 0.0])) == pytest.approx(1 / 5)


def test_focal_by_hand() -> None:
    # Logit 0: p_t = 1/2, cross-entropy ln 2, factor (1/2)^2; alpha 1/4 on the target, 3/4 beside it; mean over two pixels.
    expected = 0.5 * 0.25 * math.log(2) * (0.25 + 0.75)
    assert focal(grid([0.0, 0.0]), grid([1.0, 0.0]), grid([1.0, 1.0])) == pytest.approx(expected)


def test_soft_iou_and_matching() -> None:
    predicted = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])
    target = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    # Slot 0 covers object 1 exactly. Slot 1 has overlap 1/2 with either, union 1 + 1 - 1/2 = 3/2, so 1/3.
    scores = soft_iou(predicted, target)
    assert torch.allclose(scores, torch.tensor([[0.0, 1.0], [1 / 3, 1 / 3]]))
    assert match(scores.numpy()) == [(0, 1), (1, 0)]


def test_more_objects_than_slots_leaves_some_unmatched() -> None:
    assert match(np.array([[0.1, 0.9, 0.5]])) == [(0, 1)]


def test_mask_reward_of_the_empty_cases() -> None:
    none, one = torch.zeros(0, 1, 2), torch.tensor([[[1.0, 0.0]]])
    assert mask_reward(none, none) == 1.0
    assert mask_reward(one, none) == 0.0
    assert mask_reward(none, one) == 0.0


def test_mask_reward_of_one_object() -> None:
    # p = (1, 1/2), t = (1, 0): soft IoU 1 / 1.5, soft Dice 2 / 2.5, hard IoU (1/2 is not above 1/2) 1.
    reward = mask_reward(torch.tensor([[[1.0, 0.5]]]), torch.tensor([[[1.0, 0.0]]]))
    assert reward == pytest.approx(0.5 / 1.5 + 0.2 * 2 / 2.5 + 0.3)


def test_mask_reward_of_two_objects_is_padded_by_the_greater_number() -> None:
    objects = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])
    assert mask_reward(objects, objects) == pytest.approx(1.0)
    assert mask_reward(objects[:1], objects) == pytest.approx(0.5), "one of two objects found"
    stray = torch.cat([objects, torch.tensor([[[0.0, 0.0, 1.0]]])])
    assert mask_reward(stray, objects) == pytest.approx(2 / 3), "a third, wrong mask"


def test_advantages_by_hand() -> None:
    # (0, 1): mean 1/2, sample deviation sqrt(1/2); a group without spread teaches nothing.
    rewards = np.array([[0.0, 1.0], [0.4, 0.4]])
    found = advantages(rewards, scaled=True)
    assert found[0] == pytest.approx(np.array([-0.5, 0.5]) / (math.sqrt(0.5) + 1e-4))
    assert (found[1] == 0).all()
    centred = advantages(rewards, scaled=False)
    assert centred[0].tolist() == [-0.5, 0.5] and centred[1] == pytest.approx(np.zeros(2))


def test_a_small_spread_is_blown_up_where_advantages_are_scaled_and_nowhere_else() -> None:
    # 0.001 apart: deviation 0.001 / sqrt(2), to which 1e-4 is added.
    scaled, centred = (advantages(np.array([[0.5, 0.501]]), scaled)[0] for scaled in (True, False))
    assert scaled[1] == pytest.approx(0.0005 / (0.001 / math.sqrt(2) + 1e-4)) and centred[1] == pytest.approx(0.0005)


def test_a_rollout_alone_has_no_advantage() -> None:
    for scaled in (True, False):
        assert advantages(np.array([[0.7], [0.1]]), scaled).tolist() == [[0.0], [0.0]]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.booleans())
def test_advantages_sum_to_zero_and_keep_the_order(rewards: list[float], scaled: bool) -> None:
    found = advantages(np.array([rewards]), scaled)[0]
    assert abs(found.sum()) < 1e-6
    assert all(found[i] <= found[j] + 1e-9 for i in range(len(rewards)) for j in range(len(rewards)) if rewards[i] <= rewards[j])


def test_groups_are_live_where_their_rewards_differ() -> None:
    rewards = np.array([[0.3, 0.3, 0.3], [0.3, 0.3, 0.4], [0.1 + 0.2, 0.3, 0.3], [0.0, 2 * LEAST_SPREAD, 0.0]])
    assert live_groups(rewards).tolist() == [False, True, False, True], "what differs by rounding alone does not"
    assert live_groups(np.array([[0.5], [0.1]])).tolist() == [False, False]


def test_advantages_are_given_to_the_rollouts_prompt_by_prompt() -> None:
    found = as_tensor(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert found.tolist() == [1.0, 2.0, 3.0, 4.0] and found.dtype == torch.float32


def test_policy_loss_clips_by_hand() -> None:
    old = torch.zeros(2, 2)
    new = torch.log(torch.tensor([[2.0, 1.0], [2.0, 1.0]]))
    mask = torch.tensor([[True, True], [True, False]])
    # First answer, A = 1: min(2, 1.2) = 1.2 and 1, mean 1.1. Second, A = -1: min(-2, -1.2) = -2, the other token is padding.
    everyone = torch.tensor([True, True])
    loss = policy_loss(new, old, torch.tensor([1.0, -1.0]), mask, 0.2, everyone)
    assert loss == pytest.approx(-(1.1 - 2.0) / 2)
    # One of two tokens outside the clip range, and one of one.
    assert clip_fraction(new, old, mask, 0.2) == pytest.approx((0.5 + 1.0) / 2)


def test_policy_gradient_at_ratio_one_is_that_of_reinforce() -> None:
    log_probs = torch.tensor([[-0.3, -0.7]], requires_grad=True)
    one = torch.tensor([True])
    policy_loss(log_probs, log_probs.detach(), torch.tensor([2.0]), torch.ones(1, 2, dtype=torch.bool), 0.2, one).backward()
    assert torch.allclose(log_probs.grad, torch.tensor([[-1.0, -1.0]]))  # -A / tokens


def test_the_policys_loss_is_a_mean_over_the_sequences_that_are_counted() -> None:
    log_probs = torch.tensor([[-0.3, -0.7], [-0.1, -0.2], [-0.5, -0.9]], requires_grad=True)
    mask, advantage = torch.tensor([[True, True], [True, False], [True, True]]), torch.tensor([2.0, 4.0, -1.0])
    counted = torch.tensor([True, False, True])
    loss = policy_loss(log_probs, log_probs.detach(), advantage, mask, 0.2, counted)
    assert loss.detach() == pytest.approx(-(2.0 - 1.0) / 2), "at ratio 1 a sequence is worth its advantage"
    loss.backward()
    # Of two counted sequences each token has -A / tokens / 2.
    assert torch.allclose(log_probs.grad, torch.tensor([[-0.5, -0.5], [0.0, 0.0], [0.25, 0.25]]))
    alone = policy_loss(log_probs[[0, 2]], log_probs[[0, 2]].detach(), advantage[[0, 2]], mask[[0, 2]], 0.2, torch.ones(2).bool())
    assert loss.detach() == pytest.approx(float(alone.detach()))


def test_a_policy_of_which_nothing_is_counted_loses_nothing() -> None:
    log_probs = torch.tensor([[-0.3, -0.7]], requires_grad=True)
    loss = policy_loss(log_probs, log_probs.detach() - 1.0, torch.tensor([2.0]), torch.ones(1, 2).bool(), 0.2, torch.tensor([False]))
    loss.backward()
    assert float(loss.detach()) == 0.0 and log_probs.grad.tolist() == [[0.0, 0.0]]


def test_low_variance_kl_by_hand_and_never_negative() -> None:
    mask = torch.ones(1, 1, dtype=torch.bool)
    # ref - new = ln 2: 2 - ln 2 - 1.
    value = low_variance_kl(torch.zeros(1, 1), torch.full((1, 1), math.log(2)), mask)
    assert value == pytest.approx(1 - math.log(2))
    assert low_variance_kl(torch.zeros(1, 1), torch.full((1, 1), -3.0), mask) > 0
    assert low_variance_kl(torch.ones(1, 1), torch.ones(1, 1), mask) == 0


def test_low_variance_kl_estimates_the_divergence() -> None:
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    exact = float((policy * (policy / reference).log()).sum())
    drawn = torch.multinomial(policy, 200_000, replacement=True, generator=torch.Generator().manual_seed(0))
    estimate = low_variance_kl(policy.log()[drawn][:, None], reference.log()[drawn][:, None], torch.ones(len(drawn), 1, dtype=torch.bool))
    assert float(estimate) == pytest.approx(exact, rel=0.03)


def test_token_mean_weighs_answers_alike() -> None:
    values, mask = torch.tensor([[1.0, 1.0], [4.0, 9.0]]), torch.tensor([[True, True], [True, False]])
    assert token_mean(values, mask) == pytest.approx(2.5)


WEIGHTS = SegmentationSettings(weight=0.5, heat_bce=1.0, heat_dice=0.0, mask_dice=0.0, mask_focal=0.0, confidence=0.2, match_confidence=0.0)


def test_matching_takes_the_slot_whose_mask_fits_not_the_first() -> None:
    sure = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]])
    pairs = matched_pairs(sure.sigmoid(), torch.zeros(1, 2), [torch.tensor([[[0.0, 1.0]]])])
    assert pairs.tolist() == [[0, 1, 0]]


def test_confidence_decides_between_slots_that_are_alike() -> None:
    alike = torch.full((1, 2, 1, 2), 0.5)
    target = [torch.tensor([[[0.0, 1.0]]])]
    assert matched_pairs(alike, torch.tensor([[0.0, 0.1]]), target).tolist() == [[0, 1, 0]]
    assert matched_pairs(alike, torch.tensor([[0.1, 0.0]]), target).tolist() == [[0, 0, 0]]
    # Soft IoU 1 against 0 outweighs a preference of 0.1.
    clear = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    assert matched_pairs(clear, torch.tensor([[0.0, 0.1]]), target).tolist() == [[0, 0, 0]]


def test_an_expression_without_target_teaches_confidence_alone() -> None:
    pairs = matched_pairs(torch.zeros(1, 2, 1, 2), torch.zeros(1, 2), [torch.zeros(0, 1, 2)])
    assert pairs.shape == (0, 3)
    assert confidence_loss(torch.full((1, 2), 3.0), pairs, torch.ones(1)) == pytest.approx(math.log(1 + math.exp(3)))
    nothing = torch.zeros(0, 1, 2)
    for losses in (heat_losses, mask_losses):
        assert losses(nothing, nothing, nothing.bool(), torch.zeros(0), WEIGHTS) == {}


def test_losses_count_an_answer_as_often_as_it_was_sampled() -> None:
    logits = torch.tensor([[[0.0, 2.0]], [[4.0, -1.0]]])
    truth = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]])
    valid, weights = (
        torch.ones(2, 1, 2, dtype=torch.bool),
        WEIGHTS.model_copy(update={"mask_dice": 1.0, "mask_focal": 1.0, "heat_dice": 1.0}),
    )
    rows = torch.tensor([0, 0, 0, 1])
    for losses in (heat_losses, mask_losses):
        counted = losses(logits, truth, valid, torch.tensor([3.0, 1.0]), weights)
        repeated = losses(logits[rows], truth[rows], valid[rows], torch.ones(4), weights)
        assert len(counted) == 2
        for name, loss in repeated.items():
            assert counted[name] == pytest.approx(float(loss))
    # The first mask alone: 0.5 (lambda_s) times the mean of ln 2 and ln(1 + exp(-2)).
    alone = heat_losses(logits, truth, valid, torch.tensor([1.0, 0.0]), weights)
    assert alone["heat_bce"] == pytest.approx(0.5 * (math.log(2) + math.log(1 + math.exp(-2))) / 2)
    # Both slots of each sequence cost ln 2 at logit 0, and ln(1 + exp(-3)) where a matched one is sure.
    confidence = confidence_loss(torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[1, 0, 0]]), torch.tensor([1.0, 3.0]))
    assert confidence == pytest.approx(math.log(2) / 4 + 3 / 4 * (math.log(2) + math.log(1 + math.exp(-3))) / 2)
