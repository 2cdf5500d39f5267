"""The record schema refuses what does not fit, and reads back what was written."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from segcompass.datasets.masks import encode
from segcompass.datasets.samples import Sample
from segcompass.errors import InputError
from segcompass.protocols.coco_results import write_predictions, write_truth
from segcompass.protocols.records import COLUMNS, read_records, read_runs, write_records


def row(**changes: object) -> dict[str, object]:
    values = {name: {"str": "x", "int64": 1, "float64": 0.5}[kind] for name, kind in COLUMNS.items()}
    return values | changes


def test_round_trip_with_empty_cells_and_odd_texts(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    write_records([row(text='a "b", NA', answer="", coverage="", format_valid=True), row(text="nan")], path)
    frame = read_records(path)
    assert list(frame["text"]) == ['a "b", NA', "nan"] and frame["answer"][0] == ""
    assert np.isnan(frame["coverage"][0]) and frame["coverage"][1] == 0.5 and frame["format_valid"][0] == 1


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text("\r\n\0\t\",;\x1a\x85\u2028\ufeff '", max_size=6)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
@settings(deadline=None, max_examples=150)
def test_any_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("records") / "records.csv"
    write_records([row(text=text, answer=answer) for text, answer in texts], path)
    frame = read_records(path)
    assert list(zip(frame["text"], frame["answer"], strict=True)) == texts
    with path.open(newline="", encoding="utf-8") as file:
        assert [(cells["text"], cells["answer"]) for cells in csv.DictReader(file)] == texts, "Python's own reader agrees"


def test_rows_end_in_a_line_feed_alone(tmp_path: Path) -> None:
    write_records([row(text="a\r\nb\r")], tmp_path / "records.csv")
    data = (tmp_path / "records.csv").read_bytes()
    assert data.count(b"\r") == 2 and data.endswith(b"\n") and not data.endswith(b"\r\n") and data.split(b"\n")[0].endswith(b"coverage")


def test_a_row_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="schema"):
        write_records([row(surprise=1)], tmp_path / "records.csv")
    pd.DataFrame({"iou": [1.0]}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(InputError, match="header"):
        read_records(tmp_path / "other.csv")
    with pytest.raises(InputError, match="rerun the stage that evaluates"):
        read_records(tmp_path / "missing.csv")


def test_read_runs_wants_exactly_the_runs_of_the_study(tmp_path: Path) -> None:
    place = tmp_path / "a" / "refcoco" / "val"
    place.mkdir(parents=True)
    write_records([row(experiment="joint", variant="full", seed=0)], place / "records.csv")
    splits = {"joint": {"full": {"refcoco": ["val"]}}}
    assert len(read_runs([tmp_path / "a"], [("joint", "full", 0)], splits)) == 1
    for folders, runs in (
        ([tmp_path / "a"], [("joint", "full", 0), ("joint", "full", 1)]),
        ([tmp_path / "a"], [("joint", "full", 1)]),
    ):
        with pytest.raises(InputError, match=r"disagree about the run \('joint', 'full', 1\)"):
            read_runs(folders, runs, splits)
    with pytest.raises(InputError, match="rerun the stage that evaluates"):
        read_runs([tmp_path / "a"], [("joint", "full", 0)], {"joint": {"full": {"refcoco": ["val", "testA"]}}})


def test_pycocotools_loads_the_result_file(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    full, none = encode(mask), encode(np.zeros((4, 6), bool))
    samples = [Sample("a", "i.jpg", 4, 6, "x", False, full, None, (full,)), Sample("b", "i.jpg", 4, 6, "y", True, none, None, ())]
    write_truth(samples, tmp_path / "truth.json")
    write_predictions(samples, [none, full], [0.2, 0.9], tmp_path / "predictions.json")
    truth = COCO(str(tmp_path / "truth.json"))
    results = truth.loadRes(str(tmp_path / "predictions.json"))
    assert len(results.anns) == 2 and len(truth.anns) == 1
    assert (results.annToMask(results.loadAnns(results.getAnnIds(imgIds=[1]))[0]) == mask).all()
