"""Holm's correction by hand, and families that hold what was named before the run."""

import math

import numpy as np
import pytest

from segcompass.stats.crossed import Estimate
from segcompass.stats.families import Family, corrected, holm, result_table

FAMILY = Family("dictionaries", ("dense", "random_sae", "topk"))


def estimate(p: float) -> Estimate:
    return Estimate(2.0, 1.0, 3.0, p, seeds=3, images=40, samples=90)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1 = 0.03, 0.06, 0.04; made monotone: 0.03, 0.06, 0.06.
    assert holm(np.array([0.04, 0.01, np.nan, 0.03])) == pytest.approx([0.06, 0.03, np.nan, 0.06], nan_ok=True)
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_a_result_is_starred_after_correction_alone() -> None:
    found = corrected(FAMILY, {"topk": estimate(0.04), "dense": estimate(0.01), "random_sae": estimate(0.03)})
    assert [(one.test, one.p_holm) for one in found] == [("dense", pytest.approx(0.03)), ("random_sae", 0.06), ("topk", 0.06)]
    assert [one.starred(0.05) for one in found] == [True, False, False], "all three intervals exclude 0"
    unknown = corrected(Family("one", ("a",)), {"a": estimate(math.nan)})[0]
    assert math.isnan(unknown.p_holm) and not unknown.starred(0.05)


def test_the_result_table_has_its_columns() -> None:
    table = result_table(corrected(Family("one", ("a",)), {"a": estimate(0.01)}))
    assert list(table) == ["test", "estimate", "low", "high", "p", "p_holm", "family", "seeds", "images", "samples"]
    assert table.loc[0, ["family", "seeds", "images", "samples"]].tolist() == ["one", 3, 40, 90]
    assert list(result_table([])) == list(table)


def test_a_family_holds_exactly_what_it_names() -> None:
    with pytest.raises(ValueError, match=r"family dictionaries: without results \['dense', 'random_sae'\], with others \['full'\]"):
        corrected(FAMILY, {"topk": estimate(0.04), "full": estimate(0.01)})
    with pytest.raises(ValueError, match="named once"):
        Family("twice", ("a", "a"))
