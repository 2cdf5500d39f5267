"""The rule that chooses samples to be shown."""

import pandas as pd
import pytest

from segcompass.joint.split_files import is_kept
from segcompass.reporting.qualitative import chosen
from segcompass.study.analysis import KEPT_HEAT_MAPS

ROWS = pd.DataFrame(
    [
        ("a", "testA", 1, 0.9, True),
        ("b", "testA", 1, 0.1, True),
        ("c", "testA", 1, 0.8, True),
        ("d", "testA", 1, 0.0, False),
        ("e", "testA", 3, 0.5, False),
        ("f", "testB", 2, 0.2, False),
        ("g", "testB", 0, 1.0, True),
    ],
    columns=["sample_id", "split", "n_targets", "iou", "kept"],
)


@pytest.mark.parametrize(("count", "ids"), [(1, "cfg"), (2, "cbfeg"), (9, "cbafeg")])
def test_the_middle_one_and_the_worst_of_every_kind_are_shown(count: int, ids: str) -> None:
    """`d` is worse than all others with one target, but its heat map was not kept; of those with several none was, so all count."""
    shown = chosen(ROWS, count)
    assert "".join(shown["sample_id"]) == ids
    assert dict(zip(shown["sample_id"], shown["kind"], strict=True))["f"] == "several targets"
    assert shown.groupby("kind")["which"].first().tolist() == ["middle"] * 3
    assert set(shown["which"]) == ({"middle"} if count == 1 else {"middle", "lowest"})


def test_ties_go_by_split_and_id_whatever_the_order() -> None:
    same = ROWS.assign(iou=0.5, kept=True)
    assert chosen(same, 1)["sample_id"].tolist() == chosen(same.iloc[::-1], 1)["sample_id"].tolist() == ["b", "e", "g"]


def test_a_kind_that_a_split_lacks_is_absent() -> None:
    assert set(chosen(ROWS.iloc[:2], 2)["kind"]) == {"one target"}
    assert chosen(ROWS.iloc[:0], 2).empty


def test_heat_maps_are_kept_of_one_sample_of_each_kind_of_the_first_images() -> None:
    seen: dict[int, set[str]] = {}
    assert [is_kept(seen, "1.png", targets) for targets in (1, 1, 0, 3, 2)] == [True, False, True, True, False]
    kept = sum(is_kept(seen, f"{number}.png", 1) for number in range(2, 40))
    assert kept == KEPT_HEAT_MAPS - 1 and is_kept(seen, "50.png", 0)
