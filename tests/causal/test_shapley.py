"""Shapley values by hand, and disentanglement by SAEBench's formula."""

import numpy as np
import pytest

from segcompass.causal.disentanglement import disentanglement
from segcompass.causal.shapley import shapley


def game(value) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Values of all coalitions, given who takes part."""
    return np.array([float(value({player for player in range(4) if coalition >> player & 1})) for coalition in range(16)])


def test_an_additive_game_gives_each_player_what_it_adds() -> None:
    worth = [3.0, -1.0, 0.0, 0.5]
    assert shapley(game(lambda players: 7 + sum(worth[player] for player in players))) == pytest.approx(worth)


def test_players_share_equally_what_they_gain_together() -> None:
    assert shapley(game(lambda players: {0, 2} <= players)) == pytest.approx([0.5, 0.0, 0.5, 0.0])
    assert shapley(game(lambda players: len(players) == 4)) == pytest.approx([0.25] * 4)
    # Of "any of the first three" the first to come gets all: a third each.
    assert shapley(game(lambda players: bool(players & {0, 1, 2}))) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])


def test_the_glove_game() -> None:
    """A left glove (player 0) and three right ones: the left one is worth 3/4, as it comes second or later in three orders of four."""
    assert shapley(game(lambda players: 0 in players and len(players) > 1)) == pytest.approx([3 / 4, 1 / 12, 1 / 12, 1 / 12])


def test_values_add_up_and_are_linear_over_many_games() -> None:
    games = np.random.default_rng(0).normal(size=(5, 3, 16))
    found = shapley(games)
    assert found.shape == (5, 3, 4)
    assert found.sum(-1) == pytest.approx(games[..., 15] - games[..., 0])
    assert shapley(games[0] + 2 * games[1]) == pytest.approx(found[0] + 2 * found[1])


def test_another_number_of_coalitions_is_refused() -> None:
    with pytest.raises(ValueError, match="16 coalitions, not 8"):
        shapley(np.zeros(8))


@pytest.mark.parametrize("seed", range(5))
def test_two_attributes_are_scored_as_in_saebench(seed: int) -> None:
    """Its `ravel` evaluation: the mean of cause and isolation scores, (cause_A + cause_B + iso_AB + iso_BA) / 4."""
    cause_a, cause_b, iso_ab, iso_ba = np.random.default_rng(seed).random(4)
    published = (cause_a + cause_b + iso_ab + iso_ba) / 4
    assert disentanglement({"a": cause_a, "b": cause_b}, {("a", "b"): iso_ab, ("b", "a"): iso_ba}) == pytest.approx(published)


def test_three_attributes_by_hand() -> None:
    isolation = {("a", "b"): 1.0, ("a", "c"): 0.5, ("b", "a"): 0.0, ("b", "c"): 1.0, ("c", "a"): 1.0, ("c", "b"): 1.0}
    # a: (1 + 0.75) / 2; b: (0 + 0.5) / 2; c: (0.5 + 1) / 2.
    assert disentanglement({"a": 1.0, "b": 0.0, "c": 0.5}, isolation) == pytest.approx((0.875 + 0.25 + 0.75) / 3)
    assert disentanglement({"a": 0.4}, {}) == pytest.approx(0.4)
    assert np.isnan(disentanglement({}, {}))
