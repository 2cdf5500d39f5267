"""Cached answers are those of the base policy, in the trainer's own shapes; a damaged cache is one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from segcompass.backbone.interface import OTHER
from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.datasets.artefact import LearningData
from segcompass.errors import InputError
from segcompass.joint.batches import TrainingPrompts
from segcompass.joint.cached_answers import AnswersWriter, CachedAnswer, CachedAnswers
from segcompass.joint.rollouts import answer
from segcompass.optimisation.order import EpochOrder
from tests.joint.conftest import HOOK
from tests.tiny import micro_study

CPU = torch.device("cpu")


def test_a_cached_answer_is_what_the_base_policy_says(artefacts: Path) -> None:
    study = micro_study()
    vlm = load_vlm(artefacts / "backbone" / "vlm", study.runtime, study.answer)
    vlm.freeze_up_to(HOOK)
    segmenter = load_segmenter(artefacts / "backbone" / "sam", study.runtime)
    data = LearningData(artefacts / "data")
    prompts = TrainingPrompts(data, study.joint.benchmarks, segmenter, study.joint.warm_up.seed)
    samples = prompts.first(3)
    owners = [json.loads(line)["sample_id"] for line in (artefacts / "answers" / "owners.jsonl").read_text().splitlines()]
    assert owners[:3] == [sample.sample_id for sample in samples] and len(owners) == study.joint.warm_up.prompts

    batch = CachedAnswers(artefacts / "answers", CPU).batch([2, 0])
    for index, sample in enumerate((samples[2], samples[0])):
        image = data.image(sample)
        with torch.no_grad():
            states = answer(vlm, vlm.prompts([image], [sample.text]), 1, None, study.answer.longest, None).formed
            references = vlm.reference_states(vlm.upper(states), states)
        own = batch.token_types[index] != OTHER
        expected = states.hidden[0][states.token_types[0] != OTHER]
        # Half precision keeps 11 bits; an answer computed beside others differs by rounding.
        assert torch.allclose(batch.hidden[index][own], expected, atol=1e-2, rtol=1e-2)
        assert torch.allclose(batch.reference_states[index], references[0], atol=1e-2, rtol=1e-2)
        inputs = segmenter.inputs([image])
        assert torch.allclose(batch.embeddings[index], segmenter.embed(inputs)[0], atol=1e-2, rtol=1e-2)
        assert torch.equal(batch.valid[index], inputs.valid[0])
        assert torch.allclose(batch.targets[index], prompts.targets(sample), atol=1e-3)


def test_training_embeds_only_images_that_no_cached_answer_is_about(artefacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = micro_study()
    segmenter = load_segmenter(artefacts / "backbone" / "sam", study.runtime)
    data, cached = LearningData(artefacts / "data"), CachedAnswers(artefacts / "answers", CPU)
    alone, sharing = (TrainingPrompts(data, study.joint.benchmarks, segmenter, 0, cached=one) for one in (None, cached))
    asked = list({sample.image: sample for sample in sharing.samples}.values())
    assert {sample.image for sample in asked if cached.image(sample.image)} not in (set(), {sample.image for sample in asked})
    monkeypatch.setattr(EpochOrder, "at", lambda order, position: sharing.samples.index(asked[position]))
    expected = alone.batch(0, len(asked))
    embed, embedded = segmenter.embed, []
    monkeypatch.setattr(segmenter, "embed", lambda inputs: embedded.append(1) or embed(inputs))
    found = sharing.batch(0, len(asked))
    assert len(embedded) == sum(cached.image(sample.image) is None for sample in asked)
    assert torch.allclose(found.embeddings, expected.embeddings, atol=1e-2, rtol=1e-2) and torch.equal(found.valid, expected.valid)


def some_answer(tokens: int, objects: int) -> CachedAnswer:
    types = torch.ones(tokens, dtype=torch.uint8)
    return CachedAnswer(torch.full((tokens, 4), float(tokens)), types, torch.full((2, 4), float(tokens)), torch.full((objects, 8, 8), 0.5))


def test_answers_come_back_from_their_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcompass.joint.cached_answers.SHARD_ROWS", 2)
    writer = AnswersWriter(tmp_path, torch.float16)
    for number in range(5):
        writer.add_image(f"image{number}", torch.full((3, 2, 2), float(number)), torch.ones(8, 8, dtype=torch.bool))
    for number in (4, 0, 2, 1, 3):
        assert writer.knows(f"image{number}") and not writer.knows("image5")
        writer.add(f"image{number}", some_answer(number + 1, number))
    assert writer.close({"hook_layer": 1}) == (5, 5)
    assert len(list(tmp_path.glob("*.safetensors"))) == 6

    answers = CachedAnswers(tmp_path, CPU)
    batch = answers.batch([4, 1, 0])
    assert len(answers) == 5 and answers.hook_layer == 1
    assert [len(targets) for targets in batch.targets] == [3, 0, 4]
    assert batch.embeddings[:, 0, 0, 0].tolist() == [3.0, 0.0, 4.0]
    assert (batch.token_types != OTHER).sum(1).tolist() == [4, 1, 5]
    for number in range(5):
        found = answers.image(f"image{number}")
        assert found is not None and found[0].eq(number).all() and found[1].all()
    assert answers.image("image5") is None
    states, embeddings = answers.features([4, 1, 0])
    assert torch.equal(states, batch.reference_states) and torch.equal(embeddings, batch.embeddings)
    assert batch.hidden[1, :, 0].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0], "padding stands on the left"


def test_a_damaged_cache_is_one_sentence(artefacts: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"index.json and its shards: cannot be read"):
        CachedAnswers(tmp_path, CPU)
    broken = tmp_path / "broken"
    shutil.copytree(artefacts / "answers", broken)
    shard = next(broken.glob("answers-*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"index.json and its shards: cannot be read"):
        CachedAnswers(broken, CPU)


def without_hidden(folder: Path) -> None:
    shard = folder / "answers-00000.safetensors"
    tensors = load_file(shard)
    del tensors["hidden"]
    save_file(tensors, shard)


def index_says(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "index.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (index_says(lambda index: []), "index.json and its shards"),
        (index_says(lambda index: index | {"answers": []}), "no shards are listed"),
        (index_says(lambda index: index | {"images": []}), "no shards are listed"),
        (index_says(lambda index: index | {"answers": [index["answers"][0] | {"rows": 9}]}), "holds 3 rows of tokens, not 9"),
        (index_says(lambda index: index | {"answers": [index["answers"][0] | {"rows": 2}]}), "holds 3 rows of tokens, not 2"),
        (index_says(lambda index: index | {"images": [index["images"][0] | {"rows": 2}]}), "holds 3 rows of embeddings, not 2"),
        (index_says(lambda index: index | {"images": [index["images"][0] | {"names": ["a"]}]}), "1 names are given to 3 images"),
        (without_hidden, "hidden"),
    ],
    ids=["no mapping", "no answers", "no images", "too many rows", "too few rows", "too few images", "too few names", "no hidden states"],
)
def test_an_index_that_disagrees_with_its_shards_is_one_sentence(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    writer = AnswersWriter(tmp_path, torch.float16)
    for number in range(3):
        writer.add_image(f"image{number}", torch.zeros(3, 2, 2), torch.ones(8, 8, dtype=torch.bool))
        writer.add(f"image{number}", some_answer(number + 1, number))
    writer.close({"hook_layer": 1})
    CachedAnswers(tmp_path, CPU)
    damage(tmp_path)
    with pytest.raises(InputError, match=words) as fault:
        CachedAnswers(tmp_path, CPU)
    assert "cannot be read" in str(fault.value) and "\n" not in str(fault.value)
