"""The token cache: every token once, images held out whole, memory bounded by the buffer."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from segcompass.activations.cache import CacheReader, CacheWriter
from segcompass.activations.stream import TokenStream
from segcompass.errors import InputError


def write(folder: Path, owners: int, shard: int = 50) -> None:
    """Seven tokens an owner, one or two owners a chunk."""
    writer = CacheWriter(folder, 2, 4, "float32", shard)
    owner = 0
    while owner < owners:
        own = torch.arange(owner, min(owner + 1 + owner % 2, owners)).repeat_interleave(7)
        place = torch.arange(len(own)) % 7
        writer.add({"hidden": (own + place / 10)[:, None].expand(-1, 4), "owner": own, "position": place, "token_type": place * 0})
        owner = int(own[-1]) + 1
    assert writer.close((f"s{owner}", f"i{owner // 2}.jpg") for owner in range(owners)) == 7 * owners


def test_chunks_hold_every_token_with_its_owner_across_shards(tmp_path: Path) -> None:
    write(tmp_path, 20)
    assert [len(load_file(tmp_path / f"shard-{number:05d}.safetensors")["owner"]) for number in range(3)] == [50, 50, 40]
    reader = CacheReader(tmp_path, 0.2, 0)
    chunks = [reader.tokens(number) for number in range(reader.chunks)]
    assert [len(chunk["owner"]) for chunk in chunks[:4]] == [7, 14, 14, 14]
    for number, chunk in enumerate(chunks):
        owners = reader.owners(number)
        assert chunk["owner"].unique().tolist() == list(range(owners.start, owners.stop))
    joined = {key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]}
    assert torch.equal(joined["owner"].long(), torch.arange(20).repeat_interleave(7))
    assert torch.equal(joined["hidden"][:, 0].floor().long(), joined["owner"].long())
    assert torch.equal(joined["position"].long(), torch.arange(7).repeat(20))


def test_a_missing_shard_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path, 20)
    (tmp_path / "shard-00001.safetensors").unlink()
    with pytest.raises(InputError, match=r"shard-00001\.safetensors: is missing or damaged .*; take a whole copy"):
        list(CacheReader(tmp_path, 0.9, 0).held_out())


def test_held_out_images_never_reach_training(tmp_path: Path) -> None:
    write(tmp_path, 20)
    reader = CacheReader(tmp_path, 0.2, 0)
    held = {float(value) for shard in reader.held_out() for value in shard["hidden"][:, 0].floor()}
    assert {owner // 2 for owner in held} == {owner // 2 for owner in held} and len(held) == 4, "two images of two owners"
    batches = TokenStream(reader, 8, 60, 0)
    seen = [next(batches) for _ in range(28)]
    assert not held & {float(value) for batch in seen for value in batch[:, 0].floor()}
    assert len({float(value) for batch in seen for value in batch[:, 0].floor()}) == 16, "and every other owner does"
    again = TokenStream(reader, 8, 60, 0)
    assert all(torch.equal(batch, next(again)) for batch in seen)


def test_an_epoch_gives_every_training_token_once(tmp_path: Path) -> None:
    write(tmp_path, 20)
    batches = TokenStream(CacheReader(tmp_path, 0.2, 0), 8, 60, 1)
    first = torch.cat([next(batches) for _ in range(14)])  # 112 training tokens
    values = first[:, 0].mul(10).round().long().tolist()
    assert len(set(values)) == 112


def test_a_damaged_index_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"index.json, owners.jsonl: are missing or damaged"):
        CacheReader(tmp_path, 0.2, 0)
