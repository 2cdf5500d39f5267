"""Cached answers are those of the base policy, or have the words that they were given; a damaged cache is one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from segcompass.backbone.instruction import UNKNOWN
from segcompass.backbone.interface import OTHER
from segcompass.backbone.load import load_vlm
from segcompass.backbone.split import SplitModel
from segcompass.datasets.artefact import LearningData, evaluated_samples, gold_thoughts, sample_image
from segcompass.datasets.pairs import exchanged_pairs, paired_samples
from segcompass.datasets.samples import Sample
from segcompass.errors import InputError
from segcompass.joint.batches import training_prompts
from segcompass.joint.cached_answers import Answered, AnswersWriter, CachedAnswers
from segcompass.joint.reading import Policy
from segcompass.joint.rollouts import answer, read_answers
from segcompass.provenance.stage import Stage
from segcompass.stages import cache_answers
from segcompass.study.jobs import Job, stage_params
from segcompass.world.thoughts import is_considered, thought_is_right, without_considering
from tests.arithmetic import same_in_half
from tests.joint.conftest import HOOK, LAYERS
from tests.tiny import micro_study

pytestmark = pytest.mark.numerical

CPU = torch.device("cpu")
SOME = (0, 2, 5)
"""Answers whose states are compared; what is padded differs between them."""


@pytest.fixture(scope="module")
def vlm(artefacts: Path) -> SplitModel:
    study = micro_study()
    model = load_vlm(artefacts / "backbone" / "vlm", study.runtime, study.answer)
    model.freeze_up_to(HOOK)
    assert isinstance(model, SplitModel)
    return model


def cached(artefacts: Path, part: str, layer: int = HOOK) -> CachedAnswers:
    return CachedAnswers(artefacts / "answers" / part, layer, CPU)


def compare(artefacts: Path, vlm: SplitModel, part: str, samples: list[Sample], words: list[str | None]) -> None:
    """States of some answers at every layer are those of the policy alone with the sample, up to half precision."""
    for layer in LAYERS:
        answers = cached(artefacts, part, layer)
        batch = answers.batch(SOME)
        for index, row in enumerate(SOME):
            image, given = sample_image(artefacts / "data", samples[row]), words[row]
            prompts = vlm.prompts([image], [samples[row].text])
            with torch.no_grad():
                if given is None:
                    found = answer(vlm, prompts, 1, None, micro_study().answer.longest, None)
                    states = found.formed
                    assert answers.owners[row].answer == vlm.text(found.rollouts.valid_ids[0])
                    assert answers.owners[row].status == found.status[0]
                else:
                    (states,) = read_answers(vlm, prompts, [vlm.answer_ids(given)])
                ids, mask = states.ids[:, states.prompt_length :], states.mask[:, states.prompt_length :]
                (at_layer,) = vlm.passes(prompts, ids, mask, [layer])
                references = vlm.reference_states(vlm.upper(states), states)
            own, seen = batch.token_types[index] != OTHER, states.token_types[0] != OTHER
            assert same_in_half(batch.hidden[index][own], at_layer.hidden[0][seen])
            assert torch.equal(batch.ids[index][own], states.ids[0][seen])
            assert torch.equal(batch.token_types[index][own], states.token_types[0][seen])
            assert same_in_half(batch.reference_states[index], references[0])
            boxes = vlm.token_boxes(*image.shape[:2])
            assert np.array_equal(answers.boxes(samples[row].image), boxes.astype(np.float32))


def test_training_answers_have_the_gold_thoughts_in_both_forms_by_turns(artefacts: Path, vlm: SplitModel) -> None:
    study, data = micro_study(), LearningData(artefacts / "data")
    chosen = training_prompts(data, study.answers.benchmarks, study.answers.seed).first(study.answers.prompts)
    gold = data.gold_thoughts("train")
    owners = cached(artefacts, "training").owners
    assert [(one.benchmark, one.split, one.sample_id, one.image) for one in owners] == [
        (benchmark, "train", sample.sample_id, sample.image) for benchmark, sample in chosen
    ]
    assert len(owners) == study.answers.prompts and {one.status for one in owners} == {"ok"}
    wanted: list[str | None] = []
    for number, (owner, (_, sample)) in enumerate(zip(owners, chosen, strict=True)):
        thought = gold[sample.sample_id]
        assert thought_is_right(owner.answer, thought) and is_considered(owner.answer) == bool(number % 2)
        wanted.append(thought if number % 2 else without_considering(thought))
    compare(artefacts, vlm, "training", [sample for _, sample in chosen], wanted)


def test_evaluated_samples_are_answered_by_the_policy_and_once_more_with_gold_thoughts(artefacts: Path, vlm: SplitModel) -> None:
    splits = micro_study().evaluation.splits
    asked = list(evaluated_samples(artefacts / "data", splits))
    samples = [sample for *_, sample in asked]
    for part in ("evaluation", "gold"):
        owners = cached(artefacts, part).owners
        places = [(owner.benchmark, owner.split, owner.sample_id) for owner in owners]
        assert places == [(benchmark, split, sample.sample_id) for benchmark, split, sample in asked]
    compare(artefacts, vlm, "evaluation", samples, [None] * len(samples))
    gold = gold_thoughts(artefacts / "data", "val")
    compare(artefacts, vlm, "gold", samples, [gold[sample.sample_id] for sample in samples])


def test_samples_of_pairs_have_gold_thoughts_whose_sides_correspond(artefacts: Path, vlm: SplitModel) -> None:
    data, counts = artefacts / "data", micro_study().analysis.exchange.pairs.model_dump()
    asked = list(paired_samples(data, counts))
    answers = cached(artefacts, "pairs")
    assert [(one.benchmark, one.split, one.sample_id, one.status) for one in answers.owners] == [
        (benchmark, split, sample.sample_id, "ok") for benchmark, split, sample in asked
    ]
    assert len(asked) == 2 * 5 * 2 * 6, "six samples of two pairs of five attributes, on val and test"
    gold = {split: gold_thoughts(data, f"counterfactual_{split}") for split in counts}
    compare(artefacts, vlm, "pairs", [sample for *_, sample in asked], [gold[split][sample.sample_id] for _, split, sample in asked])
    rows = {(owner.split, owner.sample_id): row for row, owner in enumerate(answers.owners)}
    for split, count in counts.items():
        for pair in exchanged_pairs(data, split, count):
            first, second = (answers.token_types(rows[split, side.sample_id]).tolist() for side in pair.sides)
            assert first == second, f"{pair.pair}, {pair.kind}: no token corresponds"


def test_what_the_interface_must_know_of_the_policy_is_kept(artefacts: Path, vlm: SplitModel) -> None:
    settings = micro_study().answer
    for part in ("training", "evaluation", "gold", "pairs"):
        assert cached(artefacts, part).policy == Policy(vlm.vocabulary, settings.slots, settings.max_thought_tokens)


def test_data_without_gold_thoughts_is_answered_by_the_policy(artefacts: Path, tmp_path: Path) -> None:
    """Also where the study asks for gold ones; and an instruction that cannot be read has its status."""
    data, settings = tmp_path / "data", {"prompts": 2, "benchmarks": ["refcoco"], "batch": 2, "seed": 0, "thoughts": "gold"}
    shutil.copytree(artefacts / "data", data)
    shutil.rmtree(data / "supervision")
    manifest = data / "manifests" / "refcoco" / "train.jsonl"
    lines = [json.loads(line) | {"text": text} for line, text in zip(manifest.read_text().splitlines(), ("xyzzy", "left"), strict=False)]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    params = stage_params(micro_study(), Job("cache_answers", (("part", "training"),))) | {"layers": [HOOK], "answers": settings}
    (tmp_path / "out").mkdir()
    stage = Stage("cache_answers", params, {}, tmp_path / "out", {"data": data, "backbone": artefacts / "backbone"}, {})
    cache_answers.work(stage)
    owners = CachedAnswers(tmp_path / "out", HOOK, CPU).owners
    assert stage.rows == {"answers": 2}
    by_text = {line["sample_id"]: line["text"] for line in lines}
    assert {by_text[owner.sample_id]: owner.status == UNKNOWN for owner in owners} == {"xyzzy": True, "left": False}


def some_answer(writer: AnswersWriter, number: int, tokens: int, image: str) -> None:
    types = torch.ones(tokens, dtype=torch.uint8)
    ids = torch.arange(tokens) + 100 * number
    hidden = {1: torch.full((tokens, 4), float(number)), 2: torch.full((tokens, 4), -float(number))}
    owner = Answered(f"s{number}", "refcoco", "val", image, f"<think> {number}", "ok")
    writer.add(owner, hidden, types, ids, torch.full((2, 4), float(number)), np.full((3, 4), float(image[-1])))


FACTS = {"layers": [1, 2], "vocabulary": 900, "slots": 2, "longest": 7}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five answers of 5, 1, 3, 2 and 4 tokens about two pictures, in shards of two."""
    monkeypatch.setattr("segcompass.joint.shards.SHARD_ROWS", 2)
    path = tmp_path / "answers"
    path.mkdir()
    writer = AnswersWriter(path, torch.float16)
    for number, tokens in enumerate((5, 1, 3, 2, 4)):
        some_answer(writer, number, tokens, f"image{number % 2}")
    assert writer.close(FACTS) == 5
    return path


def test_answers_come_back_from_their_shards_padded_on_the_left(folder: Path) -> None:
    answers = CachedAnswers(folder, 2, CPU)
    assert len(answers) == 5 and answers.policy == Policy(900, 2, 7) and answers.starts.tolist() == [0, 5, 6, 9, 11, 15]
    batch = answers.batch([4, 1, 2])
    assert batch.hidden[..., 0].tolist() == [[-4.0] * 4, [0.0, 0.0, 0.0, -1.0], [0.0, -2.0, -2.0, -2.0]]
    assert batch.hidden.dtype == batch.reference_states.dtype == torch.float32 and batch.ids.dtype == torch.int64
    assert batch.token_types.tolist() == [[1] * 4, [OTHER] * 3 + [1], [OTHER, 1, 1, 1]]
    assert batch.ids.tolist() == [[400, 401, 402, 403], [0, 0, 0, 100], [0, 200, 201, 202]]
    assert batch.places.tolist() == [[11, 12, 13, 14], [0, 0, 0, 5], [0, 6, 7, 8]]
    assert torch.equal(batch.reference_states, torch.tensor([4.0, 1.0, 2.0])[:, None, None].expand(3, 2, 4))
    assert torch.equal(batch.reference_states, answers.reference_states([4, 1, 2]))
    assert [answers.owners[row].sample_id for row in range(5)] == [f"s{n}" for n in range(5)]
    assert answers.boxes("image1").tolist() == [[1.0] * 4] * 3 and answers.boxes("image0").tolist() == [[0.0] * 4] * 3
    other = CachedAnswers(folder, 1, CPU)
    assert torch.equal(other.batch([4, 1, 2]).hidden, -batch.hidden) and torch.equal(other.hidden(3), -answers.hidden(3))


def test_boxes_are_kept_once_a_picture(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    assert index["images"] == ["image0", "image1"] and sum(shard["rows"] for shard in index["boxes"]) == 2


def test_a_layer_that_was_not_cached_is_one_sentence(folder: Path) -> None:
    with pytest.raises(InputError, match=r"layers: are \[1, 2\], and the dictionary's is 3; name the answers of that layer"):
        CachedAnswers(folder, 3, CPU)


def truncated(folder: Path) -> None:
    shard = folder / "answers-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])


def without_boxes(folder: Path) -> None:
    shard = folder / "boxes-00000.safetensors"
    tensors = load_file(shard)
    del tensors["boxes"]
    save_file(tensors, shard)


def index_says(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "index.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def owners_say(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "owners.jsonl"
        path.write_text("".join(line + "\n" for line in change(path.read_text().splitlines())))

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "index.json"),
        (truncated, "the shards of answers"),
        (without_boxes, "the shards of boxes"),
        (index_says(lambda index: []), "is no object"),
        (index_says(lambda index: {key: value for key, value in index.items() if key != "boxes"}), "the shards of boxes"),
        (index_says(lambda index: index | {"answers": index["answers"][:2]}), "5 owners are listed for 4 answers"),
        (index_says(lambda index: index | {"images": ["image0"]}), "are no whole cache"),
        (index_says(lambda index: index | {"images": ["image0", "image7"]}), "about image1, which is not listed"),
        (index_says(lambda index: index | {"layers": ["upper"]}), "upper"),
        (index_says(lambda index: {key: value for key, value in index.items() if key != "vocabulary"}), "vocabulary"),
        (index_says(lambda index: index | {"answers": [], "images": [], "boxes": []}), "are no whole cache"),
        (owners_say(lambda lines: lines[:-1]), "4 owners are listed for 5 answers"),
        (owners_say(lambda lines: [line[:20] for line in lines]), "owners.jsonl"),
        (owners_say(lambda lines: [line.replace('"status"', '"state"') for line in lines]), "state"),
        (lambda folder: (folder / "owners.jsonl").unlink(), "owners.jsonl"),
    ],
)
def test_a_damaged_cache_is_one_sentence(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(folder)
    with pytest.raises(InputError, match=words) as fault:
        CachedAnswers(folder, 1, CPU)
    assert "take a whole copy of it" in str(fault.value) and "\n" not in str(fault.value)
