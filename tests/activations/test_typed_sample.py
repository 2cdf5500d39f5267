"""A sample in which rare types of tokens are as many as common ones, and whose weights undo that."""

from pathlib import Path

import pytest
import torch

from segcompass.activations.cache import CacheReader, CacheWriter
from segcompass.activations.source import TokenSource
from segcompass.activations.typed_sample import sample_by_type
from segcompass.errors import InputError


def source(folder: Path, images: int = 40) -> TokenSource:
    """24 tokens of type 0 and one of type 2 an image, in chunks of one image; hidden states are (image, type)."""
    folder.mkdir()
    writer = CacheWriter(folder, 2, 2, "float32", 100)
    for image in range(images):
        types = torch.tensor([0] * 24 + [2])
        hidden = torch.stack([torch.full((25,), float(image)), types.float()], dim=1)
        writer.add({"hidden": hidden, "owner": torch.full((25,), image), "position": torch.arange(25), "token_type": types})
    writer.close((f"s{image}", f"i{image:02d}.jpg") for image in range(images))
    return CacheReader(folder, 0.25, 0)


def test_every_type_is_well_represented_and_weights_undo_it(tmp_path: Path) -> None:
    tokens = source(tmp_path / "cache")
    sample = sample_by_type(tokens, 40)
    counts = [int((sample.types == kind).sum()) for kind in (0, 2)]
    assert counts == [30, 30], "one of each in each of the 30 training images"
    assert sample.shares == pytest.approx({0: 24 / 25, 2: 1 / 25})
    assert float(sample.weights.sum()) == pytest.approx(1.0)
    # The mean over the tokens is 2 / 25 in the second dimension, whatever the sample's own shares are.
    assert float(sample.weights @ sample.hidden[:, 1]) == pytest.approx(2 / 25)


def test_a_thinned_sample_stands_for_the_same_tokens(tmp_path: Path) -> None:
    sample = sample_by_type(source(tmp_path / "cache"), 1000).thinned(10)
    assert [int((sample.types == kind).sum()) for kind in (0, 2)] == [10, 10]
    assert float(sample.weights @ sample.hidden[:, 1]) == pytest.approx(2 / 25)


def test_no_token_of_a_held_out_image_is_taken(tmp_path: Path) -> None:
    tokens = source(tmp_path / "cache")
    held = {int(part["hidden"][0, 0]) for part in tokens.held_out()}
    taken = set(sample_by_type(tokens, 1000).hidden[:, 0].int().tolist())
    assert len(held) == 10 and taken == set(range(40)) - held


def test_chunks_are_looked_at_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcompass.activations.typed_sample.CHUNKS", 4)
    tokens, seen = source(tmp_path / "cache"), []
    training = tokens.training

    def watched(number: int) -> dict[str, torch.Tensor]:
        seen.append(number)
        return training(number)

    monkeypatch.setattr(tokens, "training", watched)
    sample_by_type(tokens, 8)
    assert seen == [0, 13, 26, 39]


def test_a_source_without_training_tokens_is_one_sentence(tmp_path: Path) -> None:
    tokens = source(tmp_path / "cache", 1)  # its one image is held out
    with pytest.raises(InputError, match=r"hold no token for training; raise activations\.scenes"):
        sample_by_type(tokens, 8)
