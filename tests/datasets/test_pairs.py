"""Rows of counterfactual pairs come back as they were written; what is missing or damaged is one sentence."""

import json
from pathlib import Path

import pytest

from segcompass.datasets.pairs import CounterfactualPair, Side, pair_row, pairs_file, read_pairs
from segcompass.errors import InputError

PAIR = CounterfactualPair(
    pair="colour_val_0",
    benchmark="counterfactual_colour",
    attribute="colour",
    kind="cause",
    values=("red", "blue"),
    edited=4,
    sides=(Side(7, "images/7.png", "s0", (1,), "s10", (2,)), Side(8, "images/8.png", "s60", (2,), "s50", (1,))),
)


def write(artefact: Path, *lines: str) -> None:
    path = pairs_file(artefact, "val")
    path.parent.mkdir()
    path.write_text("".join(line + "\n" for line in lines))


def test_rows_come_back(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(pair_row(PAIR)))
    assert read_pairs(tmp_path, "val") == [PAIR]


def test_data_without_pairs_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs/val\.jsonl: is missing; photographs have no counterfactual pairs"):
        read_pairs(tmp_path, "val")


@pytest.mark.parametrize("damage", ["{", '{"pair": 1}', json.dumps(pair_row(PAIR) | {"sides": []}), json.dumps(pair_row(PAIR) | {"x": 1})])
def test_a_damaged_row_is_named(tmp_path: Path, damage: str) -> None:
    write(tmp_path, json.dumps(pair_row(PAIR)), damage)
    with pytest.raises(InputError, match=r"line 2: is no counterfactual pair .* run prepare_data again"):
        read_pairs(tmp_path, "val")
