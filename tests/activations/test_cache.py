"""The token cache: every token once, images held out whole, memory bounded by the buffer."""

from pathlib import Path

import pytest
import torch

from segcompass.activations.cache import CacheReader, CacheWriter
from segcompass.activations.stream import TokenStream
from segcompass.errors import InputError


def write(folder: Path, owners: int, shard: int = 50) -> None:
    writer = CacheWriter(folder, 2, 4, "float32", shard)
    for owner in range(owners):
        hidden = torch.full((7, 4), float(owner)) + torch.arange(7)[:, None] / 10
        writer.add(f"s{owner}", f"i{owner // 2}.jpg", hidden, torch.arange(7), torch.zeros(7))
    assert writer.close() == 7 * owners


def test_shards_hold_every_token_with_its_owner(tmp_path: Path) -> None:
    write(tmp_path, 20)
    reader = CacheReader(tmp_path, 0.2, 0)
    shards = list(reader.shards())
    assert [len(shard["owner"]) for shard in shards] == [50, 50, 40]
    joined = {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
    assert torch.equal(joined["hidden"][:, 0].floor().long(), joined["owner"].long())
    assert torch.equal(joined["position"].long(), torch.arange(7).repeat(20))


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
    with pytest.raises(InputError, match="cache_activations"):
        CacheReader(tmp_path, 0.2, 0)
