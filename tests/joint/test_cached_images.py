"""Cached images are SAM's own embeddings, and targets those that training computes; a damaged cache is one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segcompass.backbone.load import load_segmenter
from segcompass.datasets.artefact import LearningData, evaluated_samples, sample_image
from segcompass.errors import InputError
from segcompass.joint.batches import TrainingPrompts, low_resolution_targets, training_prompts
from segcompass.joint.cached_images import CachedImages, ImagesWriter
from tests.arithmetic import same_in_half
from tests.tiny import micro_study

pytestmark = pytest.mark.numerical

CPU = torch.device("cpu")


def test_a_cached_image_is_what_sam_makes_of_it(artefacts: Path) -> None:
    study, data = micro_study(), LearningData(artefacts / "data")
    segmenter = load_segmenter(artefacts / "backbone" / "sam", study.runtime)
    chosen = training_prompts(data, study.answers.benchmarks, study.answers.seed).first(study.answers.prompts)
    training = [sample for _, sample in chosen]
    evaluated = [sample for *_, sample in evaluated_samples(artefacts / "data", study.evaluation.splits)]
    for part, samples in (("training", training), ("evaluation", evaluated)):
        images = CachedImages(artefacts / "images" / part, "sam", CPU)
        index = json.loads((artefacts / "images" / part / "index.json").read_text())
        assert index["names"]["images"] == list(dict.fromkeys(sample.image for sample in samples)), "each once"
        assert index["names"]["targets"] == ([sample.sample_id for sample in samples] if part == "training" else [])
        some = samples[3], samples[0]
        embeddings, valid = images.of([sample.image for sample in some])
        for index, sample in enumerate(some):
            inputs = segmenter.inputs([sample_image(artefacts / "data", sample)])
            assert same_in_half(embeddings[index], segmenter.embed(inputs)[0]) and torch.equal(valid[index], inputs.valid[0])
    images = CachedImages(artefacts / "images" / "training", "sam", CPU)
    for sample in training:
        assert same_in_half(images.targets(sample.sample_id), low_resolution_targets(segmenter, sample))
    assert {len(images.targets(sample.sample_id)) for sample in training} >= {1}


def test_training_embeds_only_images_that_are_not_cached(artefacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, data = micro_study(), LearningData(artefacts / "data")
    segmenter = load_segmenter(artefacts / "backbone" / "sam", study.runtime)
    cached = CachedImages(artefacts / "images" / "training", "sam", CPU)
    order = training_prompts(data, study.answers.benchmarks, 0)
    size = len(order.samples)
    alone, sharing = (TrainingPrompts(data, order, size, segmenter, 0, cached=one) for one in (None, cached))
    pictures = {sample.image for sample in sharing.samples}
    known = {image for image in pictures if image in cached}
    assert known not in (set(), pictures)
    expected = alone.batch(0, size)
    embed, embedded = segmenter.embed, []
    monkeypatch.setattr(segmenter, "embed", lambda inputs: embedded.append(1) or embed(inputs))
    found = sharing.batch(0, size)
    assert len(embedded) == len(pictures - known)
    assert same_in_half(found.embeddings, expected.embeddings) and torch.equal(found.valid, expected.valid)
    assert all(torch.equal(one, other) for one, other in zip(found.targets, expected.targets, strict=True))


def test_a_pool_is_the_first_prompts_of_the_seeds_order_taken_again_and_again(artefacts: Path) -> None:
    study, data = micro_study(), LearningData(artefacts / "data")
    segmenter = load_segmenter(artefacts / "backbone" / "sam", study.runtime)
    order = training_prompts(data, study.answers.benchmarks, 1)
    prompts = TrainingPrompts(data, order, 4, segmenter, 1)
    assert prompts.samples == [sample for _, sample in order.first(4)] and len(order.first(10**6)) == len(order.samples)
    taken = [text for step in range(4) for text in prompts.batch(step, 2).texts]
    texts = sorted(sample.text for sample in prompts.samples)
    assert sorted(taken[:4]) == sorted(taken[4:]) == texts, "every one once before any comes again"
    other = training_prompts(data, study.answers.benchmarks, 2).first(4)
    assert [sample.sample_id for _, sample in other] != [sample.sample_id for sample in prompts.samples]


def small_cache(folder: Path) -> None:
    writer = ImagesWriter(folder, torch.float16)
    for number in range(5):
        valid = torch.zeros(8, 8, dtype=torch.bool)
        valid[:, : number + 1] = True
        writer.add_image(f"image{number}", torch.full((3, 2, 2), float(number)), valid)
    for number in (3, 0, 1):
        writer.add_targets(f"s{number}", torch.full((number, 8, 8), number / 4))
    assert writer.close({"segmenter": "sam"}) == {"images": 5, "targets": 3}


def test_images_and_targets_come_back_from_their_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcompass.joint.shards.SHARD_ROWS", 2)
    small_cache(tmp_path)
    assert len(list(tmp_path.glob("images-*"))) == 3 and len(list(tmp_path.glob("targets-*"))) == 2
    images = CachedImages(tmp_path, "sam", CPU)
    embeddings, valid = images.of(["image4", "image0", "image4"])
    assert embeddings.shape == (3, 3, 2, 2) and embeddings[:, 0, 0, 0].tolist() == [4.0, 0.0, 4.0] and embeddings.dtype == torch.float32
    assert valid.shape == (3, 8, 8) and valid[:, 0].sum(1).tolist() == [5, 1, 5]
    assert [images.targets(f"s{number}").shape for number in (0, 1, 3)] == [(0, 8, 8), (1, 8, 8), (3, 8, 8)], "none is a number too"
    assert images.targets("s3").eq(0.75).all() and images.targets("s1").eq(0.25).all()
    assert "image4" in images and "image5" not in images and "s3" not in images


def test_another_sams_embeddings_are_refused(tmp_path: Path) -> None:
    small_cache(tmp_path)
    with pytest.raises(InputError, match="segmenter: is sam, and the interface's sam_small; name the images of that one"):
        CachedImages(tmp_path, "sam_small", CPU)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda index: index | {"images": []}, "5 names are given to 0 images"),
        (lambda index: index | {"targets": []}, "3 names are given to 0 targets"),
        (lambda index: index | {"names": {"images": index["names"]["images"][1:], "targets": []}}, "4 names are given to 5 images"),
        (lambda index: index | {"names": {"images": index["names"]["images"]}}, "targets"),
        (lambda index: index | {"names": 3}, "is no index of images"),
        (lambda index: {key: value for key, value in index.items() if key != "targets"}, "the shards of targets"),
        (lambda index: index | {"images": [index["images"][0] | {"rows": 4}]}, "for 5 rows, not"),
    ],
)
def test_a_damaged_cache_is_one_sentence(tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: str) -> None:
    small_cache(tmp_path)
    path = tmp_path / "index.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=words) as fault:
        CachedImages(tmp_path, "sam", CPU)
    assert "take a whole copy of it, or name another folder" in str(fault.value) and "\n" not in str(fault.value)
