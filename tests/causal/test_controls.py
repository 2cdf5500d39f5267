"""Controls are other concepts, of the same mass in every token type where there is so much; directions are as long on every token."""

import numpy as np
import pytest
import torch

from segcompass.backbone.token_types import THOUGHT, VISUAL
from segcompass.causal.controls import Weighed, direction_like, matched, weighed
from segcompass.causal.edits import Edit, SampleCodes
from segcompass.causal.measurements import Balance
from segcompass.causal.tally import GREATEST, Tally
from tests.causal.planted import FEATURES, drawn_codes, rows_of, world


def drawn_weights(seed: int, concepts: int = 60) -> Weighed:
    """Concepts of which each is active in two token types of three, with masses that differ by factors."""
    generator = np.random.default_rng(seed)
    frequency = generator.integers(1, 20, (3, concepts)).astype(float)
    mass = frequency * np.exp(generator.normal(0, 0.7, (3, concepts)))
    silent = generator.integers(0, 3, concepts)
    frequency[silent, range(concepts)] = mass[silent, range(concepts)] = 0.0
    return Weighed(frequency, mass)


@pytest.mark.parametrize("size", [1, 4, 12])
def test_the_mass_is_equal_in_every_token_type_and_no_chosen_concept_is_drawn(size: int) -> None:
    for seed in range(20):
        sample = drawn_weights(seed)
        chosen = np.random.default_rng(seed).choice(60, size, replace=False)
        control = matched(chosen, sample, np.random.default_rng(seed))
        assert not set(control.units.tolist()) & set(chosen.tolist())
        mine, other = sample.of(Edit.whole(chosen.tolist())), sample.of(control)
        np.testing.assert_allclose(other.mass, mine.mass, rtol=1e-5)
        assert ((control.share >= 0) & (control.share <= 1)).all()


def test_the_frequency_is_near_where_concepts_are_alike() -> None:
    ratios = []
    for seed in range(40):
        sample = drawn_weights(seed)
        chosen = np.random.default_rng(seed).choice(60, 8, replace=False)
        mine = sample.of(Edit.whole(chosen.tolist()))
        ratios.append(mine.frequency / sample.of(matched(chosen, sample, np.random.default_rng(seed))).frequency)
    assert (abs(np.log(ratios).mean(0)) < np.log(1.25)).all()


def test_draws_differ_and_are_the_same_again() -> None:
    sample, chosen = drawn_weights(0), np.array([3, 7, 20])
    draws = {tuple(matched(chosen, sample, np.random.default_rng(seed)).units.tolist()) for seed in range(10)}
    again = {tuple(matched(chosen, sample, np.random.default_rng(seed)).units.tolist()) for seed in range(10)}
    assert len(draws) > 5 and draws == again


def test_where_the_others_hold_less_all_of_them_are_taken() -> None:
    """The chosen hold 8 of 10 on the first type: the control holds 2. On the second none is left, on the third nothing is chosen."""
    mass = np.array([[8.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 3.0, 3.0]])
    sample = Weighed((mass > 0).astype(float), mass)
    control = matched(np.array([0]), sample, np.random.default_rng(0))
    assert sample.of(control).mass.tolist() == [2.0, 0.0, 0.0] and control.units.tolist() == [1, 2]
    assert matched(np.array([0]), sample, np.random.default_rng(0), barred=[1]).units.tolist() == [2]
    tally = Tally("curve")
    tally.add("matched_zero", "0.1", [sample], [Edit.whole([0])], [control])
    assert list(tally.balances()) == [
        Balance("curve", "matched_zero", "0.1", "frequency", "visual", pytest.approx(0.5)),
        Balance("curve", "matched_zero", "0.1", "frequency", "instruction", pytest.approx(GREATEST)),
        Balance("curve", "matched_zero", "0.1", "mass", "visual", pytest.approx(4.0)),
        Balance("curve", "matched_zero", "0.1", "mass", "instruction", pytest.approx(GREATEST)),
    ]


def test_weights_are_codes_times_rows_times_attention_by_type() -> None:
    """One concept with codes 1 and -2 on visual tokens of weight 1/2, 3 on a thought token of weight 1, and a row of length 5."""
    own = SampleCodes(torch.tensor([4]), torch.tensor([[1.0], [-2.0], [3.0]]), torch.tensor([VISUAL, VISUAL, THOUGHT]))
    rows = torch.zeros(6, 2)
    rows[4] = torch.tensor([3.0, 4.0])
    found = weighed(own, rows, torch.tensor([0.5, 0.5, 1.0]))
    assert found.frequency.tolist() == [[2.0], [0.0], [1.0]] and found.mass.tolist() == [[7.5], [0.0], [15.0]]


def test_directions_are_as_long_as_the_edit_on_every_token() -> None:
    """In a code space whose rows are orthonormal, tokens are as long as codes."""
    drawn = world(drawn_codes(3), rows_of({}))
    rows = torch.linalg.qr(torch.randn(FEATURES, FEATURES, generator=torch.Generator().manual_seed(0)))[0]
    drawn.units.rows = rows
    edits = [Edit.whole([0, 4, 9])] * 3
    taken = direction_like(drawn.units, edits, [np.random.default_rng(seed) for seed in range(3)])
    np.testing.assert_allclose(taken.norm(dim=2), drawn.units.norms(edits), rtol=1e-4)
