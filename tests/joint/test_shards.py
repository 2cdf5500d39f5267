"""Rows come back from their shards one by one, empty ones too; shards that are not whole are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from segcompass.errors import InputError
from segcompass.joint import shards
from segcompass.joint.shards import ShardReader, ShardWriter, open_shards, read_index

LENGTHS = (2, 0, 3, 0, 1, 0, 0, 4)
"""Of the rows' first tensor; with three rows a shard, one shard ends and one begins with empty rows."""


def row(number: int) -> dict[str, torch.Tensor]:
    length = LENGTHS[number]
    states = torch.arange(2.0 * length).view(length, 2).half() + 10 * number
    return {"states": states, "mask": torch.full((2, 3), number % 2 == 0), "kinds": torch.full((length,), number, dtype=torch.uint8)}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardWriter:
    monkeypatch.setattr(shards, "SHARD_ROWS", 3)
    writer = ShardWriter(tmp_path, "things")
    for number in range(len(LENGTHS)):
        assert len(writer) == number
        writer.add(row(number))
    writer.flush()
    writer.flush()  # nothing is left
    return writer


def test_rows_come_back_in_any_order(written: ShardWriter) -> None:
    assert [shard["rows"] for shard in written.shards] == [3, 3, 2] and len(written) == len(LENGTHS)
    assert [shard["file"] for shard in written.shards] == [f"things-0000{n}.safetensors" for n in range(3)]
    assert {path.name for path in written.folder.iterdir()} == {shard["file"] for shard in written.shards}
    reader = ShardReader(written.folder, written.shards)
    assert len(reader) == len(LENGTHS)
    for number in (5, 0, 7, 3, 1, 2, 6, 4):
        for name, value in row(number).items():
            found = reader.get(number, name)
            assert torch.equal(found, value) and found.dtype == value.dtype and found.shape == value.shape, (number, name)
    assert reader.starts("states").tolist() == [0, 2, 2, 5, 5, 6, 6, 6, 10]
    assert reader.starts("mask").tolist() == [2 * number for number in range(9)]


def test_a_full_shard_is_on_disk_before_the_next_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    writer = ShardWriter(tmp_path, "things")
    for number in range(4):
        writer.add(row(number))
        assert len(list(tmp_path.iterdir())) == (number + 1) // 2


def test_a_shard_of_empty_rows_alone_and_no_shard_at_all(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "things")
    writer.flush()
    assert writer.shards == [] and not list(tmp_path.iterdir())
    nothing = ShardReader(tmp_path, [])
    assert len(nothing) == 0 and nothing.starts("states").tolist() == [0]
    for number in (1, 3):
        writer.add(row(number))
    writer.flush()
    reader = ShardReader(tmp_path, writer.shards)
    assert reader.get(1, "states").shape == (0, 2) and reader.starts("states").tolist() == [0, 0, 0]


def test_what_is_written_is_what_was_added(tmp_path: Path) -> None:
    """A row is taken as it is when it is added where it is a part of another tensor, which gradients may belong to."""
    whole = torch.arange(12.0).view(4, 3).requires_grad_(True)
    writer = ShardWriter(tmp_path, "things")
    writer.add({"states": whole[1:3]})
    writer.add({"states": whole.T[:, :2].T[:1]})
    writer.flush()
    reader = ShardReader(tmp_path, writer.shards)
    assert reader.get(0, "states").tolist() == whole[1:3].tolist() and reader.get(1, "states").tolist() == whole[:1].tolist()
    assert (tmp_path / "things-00000.safetensors").stat().st_size < 400, "no more than the parts"


def truncated(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    shard = folder / index["things"][0]["file"]
    shard.write_bytes(shard.read_bytes()[:-4])
    return index


def shorter(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    shard = folder / index["things"][0]["file"]
    tensors = load_file(shard)
    save_file(tensors | {"states": tensors["states"][:-1].contiguous()}, shard)
    return index


def without_states(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    shard = folder / index["things"][0]["file"]
    tensors = load_file(shard)
    del tensors["states"]
    save_file(tensors, shard)
    return index


def removed(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    (folder / index["things"][2]["file"]).unlink()
    return index


def rows(count: object) -> Callable[[Path, dict[str, Any]], dict[str, Any]]:
    return lambda folder, index: {"things": [index["things"][0] | {"rows": count}, *index["things"][1:]]}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "the shards of things"),
        (shorter, "holds 4 of states for 3 rows, not 5 for 3"),
        (without_states, "states"),
        (removed, "things-00002.safetensors"),
        (rows(4), "for 3 rows, not 5 for 4"),
        (rows(2), "for 3 rows, not 5 for 2"),
        (rows("many"), "many"),
        (lambda folder, index: {}, "things"),
        (lambda folder, index: {"things": 3}, "the shards of things"),
        (lambda folder, index: {"things": [{"rows": 3}]}, "file"),
    ],
    ids=["truncated", "too short", "a tensor gone", "a file gone", "too many", "too few", "no number", "none", "no list", "no file"],
)
def test_shards_that_are_not_whole_are_one_sentence(
    written: ShardWriter, damage: Callable[[Path, dict[str, Any]], dict[str, Any]], words: str
) -> None:
    index = {"things": written.shards}
    assert len(open_shards(written.folder, index, "things")) == len(LENGTHS)
    with pytest.raises(InputError, match=words) as fault:
        open_shards(written.folder, damage(written.folder, index), "things")
    assert "take a whole copy of it, or name another folder" in str(fault.value) and "\n" not in str(fault.value)


@pytest.mark.parametrize("content", [None, "{", "[]", "\xff"], ids=["missing", "cut", "no object", "no text"])
def test_an_index_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "index.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"index.json: cannot be read .*; take a whole copy of it") as fault:
        read_index(tmp_path)
    assert "\n" not in str(fault.value)
    (tmp_path / "index.json").write_text(json.dumps({"a": 1}))
    assert read_index(tmp_path) == {"a": 1}
