"""Pairs come back through the loaders as they were drawn, equal to the pixel, and leave what is written beside them as it was."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcompass.cli import main
from segcompass.datasets.artefact import data_root, gold_thoughts, manifest, read_lines
from segcompass.datasets.masks import decode
from segcompass.datasets.pairs import read_pairs
from segcompass.datasets.samples import Sample, read_samples
from segcompass.datasets.splits import COUNTERFACTUALS
from segcompass.provenance.stage import Stage
from segcompass.stages import prepare_data
from segcompass.study.jobs import Job, stage_params
from segcompass.world.counterfactual import draw_pair
from tests.tiny import micro_study

SPLITS = ("val", "test")


def prepared(folder: Path, pairs: int) -> Path:
    params = stage_params(micro_study(), Job("prepare_data"))
    params["data"]["counterfactuals"]["pairs"] = pairs
    folder.mkdir()
    prepare_data.work(Stage("prepare_data", params, {}, folder, {}, {}))
    return folder


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("pairs") / "data", 3)


@pytest.fixture(scope="module")
def samples(artefact: Path) -> dict[str, Sample]:
    found = [s for name in COUNTERFACTUALS.values() for split in SPLITS for s in read_samples(manifest(artefact, name, split))]
    assert len(found) == len({sample.sample_id for sample in found}) == 5 * 2 * 3 * 10
    return {sample.sample_id: sample for sample in found}


def test_every_row_names_samples_of_its_pictures_with_the_masks_of_its_targets(artefact: Path, samples: dict[str, Sample]) -> None:
    for split in SPLITS:
        scenes = {row["scene_id"]: row for row in read_lines(artefact / "scenes" / f"counterfactual_{split}.jsonl")}
        gold = gold_thoughts(artefact, f"counterfactual_{split}")
        rows = read_pairs(artefact, split)
        assert len(scenes) == 5 * 3 * 2 and len(rows) == 5 * 3 * 5
        asked = set()
        for row in rows:
            first, second = row.sides
            assert first.expected_targets == second.targets and second.expected_targets == first.targets
            assert first.scene_id != second.scene_id and row.benchmark == COUNTERFACTUALS[row.attribute]
            for value, side in zip(row.values, row.sides, strict=True):
                scene = scenes[side.scene_id]
                assert scene["objects"][row.edited][row.attribute] == value and scene["image"] == side.image
                for sample_id, targets in ((side.sample_id, side.targets), (side.expected_sample_id, side.expected_targets)):
                    sample = samples[sample_id]
                    asked.add(sample_id)
                    assert sample.image == side.image and sample.no_target == (not targets) and sample_id in gold
                    assert list(sample.instances) == [scene["objects"][target]["visible"] for target in targets]
                    if not targets:
                        assert not decode(sample.target).any()
        assert asked == set(gold) and asked <= set(samples)


def test_files_of_a_pair_are_equal_to_the_pixel_outside_the_edited_object(artefact: Path) -> None:
    data = micro_study().data
    rows = [row for split in SPLITS for row in read_pairs(artefact, split) if row.kind == "isolation"]
    assert len(rows) == 30
    for row in rows:
        _, split, number = row.pair.split("_")
        drawn = draw_pair(row.attribute, split, int(number), data)  # type: ignore[arg-type]
        assert tuple(scene.scene_id for scene in drawn.scenes) == tuple(side.scene_id for side in row.sides)
        first, second = (np.asarray(Image.open(data_root(artefact) / side.image)) for side in row.sides)
        touched = np.any([scene.visible[row.edited] for scene in drawn.scenes], axis=0)
        changed = (first != second).any(axis=-1)
        assert changed.any() and not changed[~touched].any()


def test_the_door_of_the_benchmarks_opens_pairs(artefact: Path, samples: dict[str, Sample], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples", str(artefact / "root"), "--benchmark", "counterfactual_size", "--split", "test"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(shown) == 3 * 10
    assert all(asdict(samples[sample["sample_id"]]).items() >= sample.items() for sample in shown)


def test_nothing_else_changes_where_pairs_are_written(artefact: Path, tmp_path: Path) -> None:
    without = prepared(tmp_path / "data", 0)
    files = {path.relative_to(without): path for path in without.rglob("*") if path.is_file()}
    assert all((artefact / name).read_bytes() == path.read_bytes() for name, path in files.items())
    added = {path.relative_to(artefact) for path in artefact.rglob("*") if path.is_file()} - set(files)
    assert added and not any("counterfactual" in str(name) or name.parts[0] == "pairs" for name in files)
    assert all("counterfactual" in str(name) or name.parts[0] == "pairs" or name.suffix == ".png" for name in added)
