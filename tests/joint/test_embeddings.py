"""An image is embedded once, whatever it is asked for with, until the bound on memory drops it."""

import pytest
import torch

from segcompass.joint import embeddings
from segcompass.joint.embeddings import Embeddings
from tests.tiny import pictures, tiny_sam


def test_an_image_is_embedded_once_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = tiny_sam()
    seen = []
    embed = sam.embed
    monkeypatch.setattr(sam, "embed", lambda inputs: seen.append(len(inputs.pixels)) or embed(inputs))
    kept = Embeddings(sam)
    first, second, third = pictures(3)
    found, valid = kept.of([first, second, first.copy()])
    again, _ = kept.of([third, first])
    assert seen == [1, 1, 1]
    assert torch.equal(found[0], found[2]) and torch.equal(found[0], again[1]) and not torch.equal(found[0], found[1])
    inputs = sam.inputs([second])
    assert torch.equal(found[1], embed(inputs)[0]) and torch.equal(valid[1], inputs.valid[0])


def test_the_image_seen_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = tiny_sam()
    first, second, third = pictures(3)
    one = Embeddings(sam).of([first])[0]
    monkeypatch.setattr(embeddings, "EMBEDDING_BYTES", 2 * one.numel() * one.element_size())
    kept = Embeddings(sam)
    for image in (first, second, first, third):
        kept.of([image])
    calls = []
    embed = sam.embed
    monkeypatch.setattr(sam, "embed", lambda inputs: calls.append(1) or embed(inputs))
    kept.of([first, third])
    assert not calls
    kept.of([second])
    assert len(calls) == 1
