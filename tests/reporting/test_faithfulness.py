"""CPR and CMD by hand: areas of f and |1 - f| from means over expressions, benchmarks counted alike, arms paired."""

import pandas as pd
import pytest

from segcompass.reporting.faithfulness import areas, faithfulness_table
from segcompass.stats.crossed import Crossed, Grid

FRACTIONS, WAYS = ("0.1", "0.5"), ("kept", "removed")


def curve(benchmark: str, sample: str, image: str, seed: int, scores: dict[tuple[str, str], list[float]]) -> list[dict]:
    """Rows of an expression whose score is 3 with all concepts and 1 without; `scores`: (arm, way) -> those at each fraction."""
    place = {"variant": "full", "seed": seed, "intervention": "curve", "benchmark": benchmark, "split": "testA"}
    place |= {"sample_id": sample, "image": image}
    values = [("all", "score", "", 3.0), ("none_zero", "score", "", 1.0), ("all", "iou", "", 0.5)]
    values += [
        (f"{arm}_zero", f"{way}_score", at, score) for (arm, way), of in scores.items() for at, score in zip(FRACTIONS, of, strict=False)
    ]
    return [place | {"arm": arm, "measure": measure, "at": at, "value": value} for arm, measure, at, value in values]


def scores(kept: list[float], matched: list[float]) -> dict[tuple[str, str], list[float]]:
    """What is removed leaves what the others would give."""
    return {(arm, way): of if way == "kept" else [4 - x for x in of] for arm, of in (("top", kept), ("matched", matched)) for way in WAYS}


def measured(seeds: int) -> pd.DataFrame:
    """f of kept concepts: 0.5 and 1 in refcoco, 1.5 and 1.5 in grefcoco; of matched ones 0 and 0.5 in both."""
    rows = []
    for seed in range(seeds):
        for sample, image in (("a", "x"), ("b", "y")):
            rows += curve("refcoco", sample, image, seed, scores([2.0, 3.0], [1.0, 2.0]))
        rows += curve("grefcoco", "c", "x", seed, scores([4.0, 4.0], [1.0, 2.0]))
        rows += curve("refcoco", "short", "z", seed, scores([9.0], [9.0]))  # measured at the first fraction alone
    return pd.DataFrame(rows)


def test_areas_are_those_of_the_published_formula() -> None:
    """MIB adds up trapezoids of f and of |1 - f| between the sizes; here from 0 to 1, by hand."""
    f = [Crossed(value, Grid(["x", "y"]).mean(pd.DataFrame([[value, value]]).to_numpy(), "seeds").influence, 2) for value in (0.5, 1.1)]
    cpr, cmd = areas([0.1, 0.5], f, (0.2, 1.0))
    assert cpr.value == pytest.approx(0.1 * 0.35 + 0.4 * 0.8 + 0.5 * 1.05)
    assert cmd.value == pytest.approx(0.1 * (0.8 + 0.5) / 2 + 0.4 * (0.5 + 0.1) / 2 + 0.5 * (0.1 + 0.0) / 2)
    cpr, cmd = areas([0.5], [f[0] * 2.0], (1.0, 1.0))
    assert (cpr.value, cmd.value) == (1.0, 0.0)


def test_the_table_by_hand() -> None:
    """refcoco: 0.1 * 0.25 + 0.4 * 0.75 + 0.5 * 1 = 0.825, grefcoco: 0.1 * 0.75 + 0.4 * 1.5 + 0.5 * 1.25 = 1.3; their distances from 1
    0.175 and 0.075 + 0.2 + 0.125 = 0.4; matched 0 + 0.4 * 0.25 + 0.5 * 0.75 = 0.475."""
    table = {label: values for label, _, values in faithfulness_table(measured(2), 0.95).rows}
    assert list(table) == ["full, zero, kept", "full, zero, removed"]
    kept, removed = table.values()
    found = {name: value.mean for name, value in kept.items()}
    assert found["CPR, strongest"] == pytest.approx((0.825 + 1.3) / 2) and found["CMD, strongest"] == pytest.approx((0.175 + 0.4) / 2)
    assert found["CPR, matched"] == pytest.approx(0.475) and found["CMD, matched"] == pytest.approx(0.525)
    assert found["CPR, difference"] == pytest.approx((0.825 + 1.3) / 2 - 0.475)
    assert (found["seeds"], found["images"]) == (2, 2)
    # What is removed leaves 1 - f, and the distance of that from 1 is abs(f).
    assert removed["CPR, strongest"].mean == pytest.approx(1 - (0.825 + 1.3) / 2)
    assert removed["CMD, strongest"].mean == pytest.approx((0.825 + 1.3) / 2)


def test_intervals_are_those_of_f() -> None:
    """At one fraction of a half CPR is a quarter and half of f, and CMD three quarters less half of f; of a single seed over images."""
    kept = {0: {"a": 1.5, "b": 2.0, "c": 3.0}, 1: {"a": 2.0, "b": 2.5, "c": 1.0}}
    for seeds in (2, 1):
        rows = [
            row
            for seed in range(seeds)
            for sample, image in (("a", "x"), ("b", "y"), ("c", "y"))
            for row in curve("refcoco", sample, image, seed, scores([9.0, kept[seed][sample]], [9.0, 1.0]))
        ]
        frame = pd.DataFrame(rows)
        values = faithfulness_table(frame[frame["at"] != "0.1"], 0.95).rows[0][2]
        top = [[kept[seed][sample] - 1 for sample in "abc"] for seed in range(seeds)]
        f = Grid(["x", "y", "y"]).ratio(pd.DataFrame(top).to_numpy(), pd.DataFrame([[2.0] * 3] * seeds).to_numpy(), "seeds")
        expected = (f if seeds > 1 else f.of_these_runs()).estimate(0.95)
        cpr, cmd = values["CPR, strongest"], values["CMD, strongest"]
        assert [cpr.mean, cpr.low, cpr.high] == pytest.approx([0.25 + x / 2 for x in (expected.value, expected.low, expected.high)])
        assert [cmd.mean, cmd.high, cmd.low] == pytest.approx([0.75 - x / 2 for x in (expected.value, expected.low, expected.high)])


def test_interfaces_without_concepts_have_no_row() -> None:
    assert not faithfulness_table(measured(1).assign(intervention="sham"), 0.95).rows
    short = measured(1)
    (_, _, values), *_ = faithfulness_table(short[(short["at"] != "0.5") | (short["sample_id"] != "a")], 0.95).rows
    assert values["images"].mean == 2, "the expression without a whole curve is left out, its image still has another"
