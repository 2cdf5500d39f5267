"""Swaps on an interface whose mask follows known concepts: 0 and 1 name a colour, 2 and 3 a shape, 6 the lone object; the rest is idle.

Concepts 0, 2 and 6 light the left half, 1 and 3 the right one. Two pairs an attribute, of which either has another side edited.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from segcompass.backbone.token_types import INSTRUCTION, THOUGHT
from segcompass.causal.carriers import find_carriers, joined, spanned
from segcompass.causal.disentanglement import best_count
from segcompass.causal.examples import SwapExample, read_examples, write_examples
from segcompass.causal.measurements import Measurement
from segcompass.causal.pair_runs import PairRuns
from segcompass.causal.response import Responding
from segcompass.causal.swap import OTHER_ARMS, OWN_ARMS, Swaps
from segcompass.causal.swap_controls import PairDifference, changed_elsewhere, matched_in_mass
from segcompass.datasets.masks import encode
from segcompass.datasets.pairs import CounterfactualPair, Kind, Side
from segcompass.errors import InputError
from segcompass.sae.sparse_tokens import SparseTokens
from tests.causal.planted_answers import CONCEPTS, LEFT, RIGHT, PlantedModel, PlantedRuns, Written, sample

MAPS = {0: LEFT, 1: RIGHT, 2: LEFT, 3: RIGHT, 6: LEFT}
NAMED = {"colour": (0, 1), "shape": (2, 3)}
LONE: dict[str, tuple[int, int]] = {"colour": (4, 5), "shape": (2, 3)}
"""What the thought about the lone object says of the attribute: for colours, words that light nothing."""
SCENES = {number: [encode(LEFT), encode(RIGHT)] for number in range(4)}
READER = PlantedModel(MAPS, {THOUGHT: 1.0})


def pairs_of(split: str) -> tuple[list[CounterfactualPair], dict[str, Written]]:
    """Rows and answers: instruction and thought name the value, then the thought says a word more."""
    rows, written = [], {}

    def side(name: str, number: int, target: int, expected: int, thought: tuple[int, int]) -> Side:
        other = f"{name} expected"
        written[name] = ([7, 7], [thought[0], 7], thought, None)
        twin = next((1 - pair.index(thought[0]) for pair in NAMED.values() if thought[0] in pair), 0)
        named = next((pair[twin] for pair in NAMED.values() if thought[0] in pair), thought[0])
        written[other] = ([7, 7], [named, 7], (named, thought[1]), None)
        return Side(number, f"{number}.png", name, (target,), other, (expected,))

    for attribute, values in NAMED.items():
        for number in range(2):
            pair = f"{attribute}_{number}"
            kinds: dict[Kind, list[Side]] = {"cause": [], "isolation": [], "contrast": []}
            for turn, value in enumerate(values):
                name = f"{split} {pair} {turn}"
                kinds["cause"].append(side(f"{name} cause", 2 * number + turn, turn, 1 - turn, (value, 4 + turn)))
                kinds["isolation"].append(side(f"{name} isolation", 2 * number + turn, 0, 0, (6, LONE[attribute][turn])))
                kinds["contrast"].append(side(f"{name} contrast", 2 * number + turn, turn, turn, (value, 4)))
            words = (f"{attribute} u", f"{attribute} v")
            for kind, (first, second) in kinds.items():
                rows.append(CounterfactualPair(pair, f"counterfactual_{attribute}", attribute, kind, words, 0, (first, second)))
    return rows, written


def paired(split: str, offset: float) -> PairRuns:
    rows, written = pairs_of(split)
    regions = (LEFT, RIGHT)
    samples = {}
    for row in rows:
        for one in row.sides:
            samples[one.sample_id] = sample(one.sample_id, regions[one.targets[0]], one.image)
            samples[one.expected_sample_id] = sample(one.expected_sample_id, regions[one.expected_targets[0]], one.image)
    return PairRuns(split, rows, samples, PlantedRuns(written, offset))  # type: ignore[arg-type]


def swaps(model: PlantedModel, offset: float = 0.0, split: str = "test", kept: int = 0) -> Swaps:
    pairs = paired(split, offset)
    carriers = find_carriers(paired("val", offset), 2)
    encoding = pairs.runs.encoding  # type: ignore[attr-defined]
    return Swaps(pairs, Responding(model, 0.5), encoding, carriers, torch.ones(CONCEPTS), 0, kept)  # type: ignore[arg-type]


def measured(model: PlantedModel, count: int = 2, offset: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame(swaps(model, offset).measure(count, 2, SCENES), columns=list(Measurement._fields))


def means(rows: pd.DataFrame, measure: str) -> Mapping[tuple[str, str], float]:
    """Means by arm and attribute, over the attribute's pairs."""
    return dict(rows[rows["measure"] == measure].groupby(["arm", "at"])["value"].mean())


@pytest.mark.parametrize("offset", [0.0, 1e-3], ids=["sparse", "dense"])
def test_exchanged_concepts_move_the_mask_and_nothing_else_does(offset: float) -> None:
    rows = measured(READER, offset=offset)
    assert rows["image"].isin(["colour_0", "colour_1", "shape_0", "shape_1"]).all() and not rows.duplicated(list(rows.columns[:-1])).any()
    cause, soft = means(rows, "cause"), means(rows, "cause_iou")
    assert {arm for arm, _ in cause} == {*OWN_ARMS, "ceiling"}
    for attribute in NAMED:
        for arm in ("attribute", "attribute_text", "whole", "direction", "neurons", "ceiling"):
            assert cause[arm, attribute] == soft[arm, attribute] == 1, arm
        assert cause["identity", attribute] == soft["identity", attribute] == cause["matched", attribute] == 0
        assert offset or cause["elsewhere", attribute] == soft["elsewhere", attribute] == 0, "words 4 and 5 stand in, which light nothing"
    assert set(rows[(rows["arm"] == "identity") & rows["measure"].isin(["cause_iou", "isolation_iou", "stays_iou"])]["value"]) == {0.0}
    isolation, kept = means(rows, "isolation"), means(rows, "isolation_iou")
    assert {arm for arm, _ in isolation} == {*OTHER_ARMS, "identity"}
    # Where every concept is active, one that names the pair's own attribute may be drawn as a control of another attribute's.
    for arm in ("identity", "attribute", "direction", "neurons", *(["matched", "elsewhere"] if not offset else [])):
        for attribute in NAMED:
            assert isolation[arm, attribute] == 1 and kept[arm, attribute] == 0


def test_an_answer_that_does_not_name_the_attribute_stays_or_not() -> None:
    """Of shapes the thought about the lone object lights both halves after the exchange: half the IoU, and no object leads."""
    stays, change = means(measured(READER), "stays"), means(measured(READER), "stays_iou")
    for arm in ("identity", "attribute", "whole", "direction"):
        assert stays[arm, "colour"] == 1 and change[arm, "colour"] == 0
    assert stays["identity", "shape"] == 0.5, "of the second pair, the side that says concept 3 lights both halves from the start"
    assert change["attribute", "shape"] == change["whole", "shape"] == pytest.approx(0), "-1/2 on one side, +1/2 on the other"


def test_an_interface_that_reads_instructions_moves_where_these_are_exchanged() -> None:
    rows = measured(PlantedModel(MAPS, {INSTRUCTION: 1.0}))
    cause = means(rows, "cause")
    for attribute in NAMED:
        moved = {arm for (arm, at), value in cause.items() if at == attribute and value == 1}
        assert moved == {"attribute_text", "ceiling"}


def test_the_null_twin_of_the_battery_shows_nothing() -> None:
    rows = measured(PlantedModel({6: LEFT}, {THOUGHT: 1.0}))
    assert not rows[rows["measure"].isin(["cause", "cause_iou", "isolation_iou", "stays_iou"])]["value"].any()


def test_all_coordinates_are_the_whole_thought() -> None:
    rows = measured(READER, count=CONCEPTS)
    cause = means(rows, "cause")
    for attribute in NAMED:
        assert (
            cause["neurons", attribute] == cause["components", attribute] == cause["attribute", attribute] == cause["whole", attribute] == 1
        )


def test_carriers_are_what_differs_between_two_names_of_one_object() -> None:
    found = find_carriers(paired("val", 0.0), 1)
    for attribute, (first, second) in NAMED.items():
        assert found.concepts[attribute][:2].tolist() == found.neurons[attribute][:2].tolist() == [first, second]
        assert found.chosen(attribute, 2, CONCEPTS).nonzero().flatten().tolist() == [first, second]
        (direction,) = found.directions[attribute]
        expected = torch.zeros(CONCEPTS)
        expected[first], expected[second] = 0.5**0.5, -(0.5**0.5)
        assert torch.allclose(direction * direction[first].sign(), expected, atol=1e-6)
    assert torch.allclose(found.axes @ found.axes.T, torch.eye(CONCEPTS), atol=1e-5)


def test_directions_of_several_values_span_their_differences() -> None:
    differences = [torch.tensor([3.0, -3, 0, 0]), torch.tensor([3.0, 0, -3, 0]), torch.tensor([0.0, 3, -3, 0])]
    for basis in (spanned(differences, 2), spanned(differences, 9)):
        assert basis.shape == (2, 4) and torch.allclose(basis @ basis.T, torch.eye(2), atol=1e-6)
        assert all(torch.allclose(one @ basis.T @ basis, one, atol=1e-5) for one in differences)
    assert spanned([torch.tensor([0.0, 9, 0, 0]), torch.tensor([1.0, 0, 0, 0])], 1).abs().tolist() == [[0, 1, 0, 0]]
    assert len(spanned([torch.zeros(4)] * 3, 2)) == 0
    both = joined([torch.eye(4)[:2], torch.tensor([[0.5**0.5, 0.5**0.5, 0, 0]]), torch.eye(4)[3:]])
    assert both.shape == (3, 4) and torch.allclose(both.T @ both, torch.diag(torch.tensor([1.0, 1, 0, 1])), atol=1e-6)


def test_the_number_of_concepts_is_chosen_by_disentanglement() -> None:
    """One concept alone is taken from the thought and nothing is put there, so no mask moves: (0 + 1) / 2. Two are right: 1."""
    choosing = swaps(READER, split="val")
    count, scores = best_count([8, 2, 1], lambda k: choosing.disentanglement(k, 2))
    assert count == 2 and scores[1] == pytest.approx(0.5) and scores[2] == 1
    assert best_count([4], lambda k: pytest.fail("nothing to choose")) == (4, {})
    assert best_count([3, 2], lambda k: 1.0)[0] == 2


def test_controls_are_as_many_as_heavy_and_their_balance_is_kept() -> None:
    """The thoughts of `cause` differ in a word that names nothing, too: its two concepts are the control of the two that name a value."""
    battery = swaps(READER)
    list(battery.measure(2, 2, SCENES))
    for arm in ("matched", "elsewhere"):
        balance = {(row.at, row.quantity): row.ratio for row in battery.balance() if (row.arm, row.token_type) == (arm, "thought")}
        # Where colours are not named, the thoughts differ in those two words alone: nothing is exchanged there, so nothing is balanced.
        assert balance == {(attribute, quantity): pytest.approx(1) for attribute in NAMED for quantity in ("frequency", "mass")}


def test_controls_are_drawn_near_in_mass_and_added_until_the_mass_is_reached() -> None:
    mass = np.array([10.0, 9.0, 3.0, 3.0, 2.0, 0.0, 50.0])
    difference = PairDifference(np.array([True] * 6 + [False]), mass, np.ones(7, int))
    chosen = np.array([True] + [False] * 6)
    for seed in range(20):
        control = matched_in_mass(difference, chosen, np.random.default_rng(seed))
        assert len(control) == len(set(control)) >= 1 and not {0, 6} & set(control.tolist())
        missing = 10 - mass[control].sum()
        assert all(abs(missing - mass[other]) >= abs(missing) for other in {1, 2, 3, 4, 5} - set(control.tolist())), "no other one helps"
    nothing = matched_in_mass(difference, np.array([True] * 6 + [False]), np.random.default_rng(0))
    assert len(nothing) == 0
    ratios = difference.ratios(np.array([0]), np.array([1, 2]))
    assert ratios == {"frequency": 0.5, "mass": pytest.approx(10 / 12)}
    assert np.isnan(difference.ratios(np.array([0]), nothing)["mass"])


@pytest.mark.parametrize("active", [8, 3], ids=["stand-ins that are active", "too few of them"])
def test_what_changes_elsewhere_changes_as_often_and_as_much_on_the_same_tokens(active: int) -> None:
    """Ten concepts, of which 0 and 1 are exchanged: one that falls by 2 and one that rises by 3, each on a token of its own."""
    own, other = torch.zeros(3, 10), torch.zeros(3, 10)
    own[:, 2:active], other[:, 2:active] = 1.0, 0.5
    own[0, 0], other[1, 1] = 2.0, 3.0
    lengths = torch.tensor([1.0, 2, 4, 4, 4, 4, 4, 4, 4, 0])
    chosen = np.array([True, True] + [False] * 8)
    for seed in range(20):
        edited = changed_elsewhere(own, other, chosen, lengths, np.random.default_rng(seed))
        sparse = changed_elsewhere(*(SparseTokens.of(codes) for codes in (own, other)), chosen, lengths, np.random.default_rng(seed))
        assert isinstance(edited, torch.Tensor) and isinstance(sparse, SparseTokens) and torch.equal(edited, sparse.dense())
        change = edited - own
        ((token, falls), (next_token, rises)) = change.nonzero().tolist()
        assert (token, next_token) == (0, 1) and falls != rises and {falls, rises} <= set(range(2, active if active == 8 else 9))
        room = own[0, falls] >= 0.5
        assert change[0, falls] == (-0.5 if room else 0.5), "2 times length 1 over length 4; up where it would leave 0"
        assert change[1, rises] == 1.5, "3 times length 2 over length 4"
        assert (edited >= 0).all()
        wanted, done = (PairDifference.of(own, codes, lengths) for codes in (other, edited))
        assert wanted.ratios(np.array([0, 1]), np.flatnonzero(~chosen), done) == {"frequency": 1, "mass": 1}
    whole = changed_elsewhere(own, other, np.ones(10, bool), lengths, np.random.default_rng(0))
    assert isinstance(whole, torch.Tensor) and torch.equal(whole, own), "nothing is left that could stand in"


def test_sides_of_unequal_length_are_refused() -> None:
    rows, written = pairs_of("test")
    written["test colour_0 1 cause"] = ([7, 7], [1, 7], (1, 5, 7), None)
    pairs = PairRuns("test", rows, {}, PlantedRuns(written))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="colour_0, cause, have 2 and 3 tokens"):
        next(pairs.chunks("colour", "cause", 2)).tokens("thought")


@pytest.mark.parametrize("offset", [0.0, 1e-3], ids=["sparse", "dense"])
def test_examples_show_the_first_pairs_of_each_attribute(offset: float, tmp_path: Path) -> None:
    """The first pair's first side names the left object; the thoughts of its sides differ in the value's word and in words 4 and 5."""
    battery = swaps(READER, offset, kept=1)
    list(battery.measure(2, 2, SCENES))
    write_examples(battery.examples, CONCEPTS, tmp_path)
    found, features = read_examples(tmp_path)
    assert found == battery.examples and features == CONCEPTS
    for one, (attribute, named) in zip(found, NAMED.items(), strict=True):
        name = f"test {attribute}_0"
        assert one == SwapExample(
            *(f"{attribute}_0", attribute, f"counterfactual_{attribute}", "test", (f"{attribute} u", f"{attribute} v")),
            *(f"{name} 0 cause", f"{name} 1 cause", f"{name} 0 cause expected"),
            encode(LEFT),
            {"attribute": encode(RIGHT), "matched": encode(LEFT)},
            {"attribute": list(named), "matched": [4, 5]},
        )
    assert read_examples(tmp_path / "none") == ([], 0)
    (tmp_path / "examples.json").write_text('{"features": 8, "examples": [{}]}')
    with pytest.raises(InputError, match="holds no examples of swaps"):
        read_examples(tmp_path)
