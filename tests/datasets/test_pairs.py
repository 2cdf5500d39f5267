"""Rows of counterfactual pairs come back as they were written; what is missing or damaged is one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from segcompass.datasets.pairs import CounterfactualPair, Side, exchanged_pairs, pair_row, paired_samples, pairs_file, read_pairs
from segcompass.datasets.samples import Sample, write_samples
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


def written_pairs(artefact: Path) -> None:
    """Two pairs of two attributes, of which each has a row of every kind; samples are named by pair, kind and side."""
    lines = []
    for attribute in ("colour", "shape"):
        benchmark = f"counterfactual_{attribute}"
        rows = []
        for number in range(2):
            for kind in ("cause", "isolation", "presence", "contrast"):
                names = [f"{attribute}{number}{kind}{side}" for side in "ab"]
                sides = tuple(Side(7, "7.png", name, (1,), f"{name} expected", (2,)) for name in names)
                rows.append(replace(PAIR, pair=f"{attribute}_{number}", attribute=attribute, benchmark=benchmark, kind=kind, sides=sides))
        folder = artefact / "manifests" / benchmark
        folder.mkdir(parents=True)
        ids = [name for row in rows for side in row.sides for name in (side.expected_sample_id, side.sample_id)]
        rle = {"size": [2, 2], "counts": "04"}
        write_samples((Sample(name, "7.png", 2, 2, name, False, rle, None, (rle,)) for name in ids), folder / "val.jsonl")
        lines += [json.dumps(pair_row(row)) for row in rows]
    write(artefact, *lines)


def test_rows_that_are_exchanged_are_those_of_the_first_pairs_of_each_attribute(tmp_path: Path) -> None:
    written_pairs(tmp_path)
    found = [(row.pair, row.kind) for row in exchanged_pairs(tmp_path, "val", 1)]
    assert found == [(f"{attribute}_0", kind) for attribute in ("colour", "shape") for kind in ("cause", "contrast")]
    assert len(exchanged_pairs(tmp_path, "val", 9)) == 8


def test_their_samples_are_those_of_both_sides_and_what_is_expected_in_the_order_of_the_manifests(tmp_path: Path) -> None:
    written_pairs(tmp_path)
    found = [(benchmark, split, sample.sample_id) for benchmark, split, sample in paired_samples(tmp_path, {"val": 1})]
    names = [f"{kind}{side}{which}" for kind in ("cause", "contrast") for side in "ab" for which in (" expected", "")]
    assert found == [(f"counterfactual_{one}", "val", f"{one}0{name}") for one in ("colour", "shape") for name in names]
