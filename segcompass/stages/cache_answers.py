"""Caches answers of the base policy, with all that an interface reads of them: to training prompts, to every sample that is evaluated, to
these with the gold thought in place of the policy's own, and to the samples of counterfactual pairs.

Whatever reads them reads the same words, so that reasoning is constant wherever the policy is not trained.
Answers to pairs have gold thoughts: codes are exchanged token by token, which asks for thoughts of equal length that differ in the
attribute's words alone. The policy's own may be wrong, and then the mask that must follow the exchange is not the one that the pair names.
"""

import json
from collections.abc import Sequence

import torch
from tqdm import tqdm

from segcompass.backbone.interface import Image, Prompts, VisionLanguageModel
from segcompass.backbone.load import load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.artefact import LearningData, evaluated_samples, gold_thoughts, sample_image
from segcompass.datasets.pairs import paired_samples
from segcompass.datasets.samples import Sample
from segcompass.joint.batches import training_prompts
from segcompass.joint.cached_answers import Answered, AnswersWriter
from segcompass.joint.rollouts import read_answers, well_formed, with_unreadable
from segcompass.provenance.shards import FLAG, HELP
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.shards import own_shard
from segcompass.world.thoughts import without_considering

FLAGS = {"data": "artefact of prepare_data", "backbone": "artefact of train_backbone", FLAG: HELP}

Asked = tuple[str, str, Sample, str | None]
"""Benchmark, split, sample, and the words that its answer is given; None where the policy answers."""


def work(stage: Stage) -> None:
    """Fills the shards, `owners.jsonl` (the answers' samples, in their order) and `index.json`."""
    keys = stage.params
    settings = AnswerSettings.model_validate_json(json.dumps(keys["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(keys["runtime"]))
    stage.facts["device"] = runtime.device
    writer = AnswersWriter(stage.folder, getattr(torch, keys["dtype"]))
    if FLAG in stage.collections:
        gathered = [writer.add_shard(folder) for folder in tqdm(stage.collections[FLAG], desc="gathering", disable=None)]
        stage.rows["answers"] = writer.close(gathered[0])
        return
    layers = [int(layer) for layer in keys["layers"]]
    prepare_torch(keys["threads"], 0)
    vlm = load_vlm(stage.inputs["backbone"] / "vlm", runtime, settings)
    vlm.freeze_up_to(layers[-1])
    asked, size = _asked(stage), int(keys["answers"]["batch"])
    for number in tqdm(own_shard(stage.wildcards).part(-(-len(asked) // size)), desc="answering", disable=None):
        part = asked[number * size : (number + 1) * size]
        _answer(vlm, writer, part, [sample_image(stage.inputs["data"], sample) for _, _, sample, _ in part], layers, settings.longest)
    facts = {"layers": layers, "vocabulary": vlm.vocabulary, "slots": settings.slots, "longest": settings.max_thought_tokens}
    stage.rows["answers"] = writer.close(facts)


def _asked(stage: Stage) -> list[Asked]:
    data, part = stage.inputs["data"], stage.params["part"]
    if part == "training":
        chosen = stage.params["answers"]
        learning = LearningData(data)
        samples = training_prompts(learning, chosen["benchmarks"], chosen["seed"]).first(chosen["prompts"])
        gold = learning.gold_thoughts("train") if chosen["thoughts"] == "gold" else {}
        return [
            (benchmark, "train", sample, _form(gold.get(sample.sample_id), number)) for number, (benchmark, sample) in enumerate(samples)
        ]
    if part == "pairs":
        paired = list(paired_samples(data, stage.params["pairs"]))
        words = {split: gold_thoughts(data, f"counterfactual_{split}") for split in {split for _, split, _ in paired}}
        return [(*place, words[place[1]][place[2].sample_id]) for place in paired]
    evaluated = list(evaluated_samples(data, stage.params["splits"]))
    if part == "evaluation":
        return [(*place, None) for place in evaluated]
    thoughts = {split: gold_thoughts(data, split) for split in {split for _, split, _ in evaluated}}
    return [(*place, thoughts[place[1]][place[2].sample_id]) for place in evaluated if place[2].sample_id in thoughts[place[1]]]


def _form(thought: str | None, number: int) -> str | None:
    """A gold thought in its considered and its hasty form by turns: an interface must read both."""
    return thought if thought is None or number % 2 else without_considering(thought)


@torch.no_grad()
def _answer(
    vlm: VisionLanguageModel, writer: AnswersWriter, asked: Sequence[Asked], images: Sequence[Image], layers: list[int], longest: int
) -> None:
    prompts = vlm.prompts(images, [sample.text for _, _, sample, _ in asked])
    status, formed, texts = _words(vlm, prompts, [words for *_, words in asked], longest)
    status = with_unreadable(prompts, status)
    passes = read_answers(vlm, prompts, formed, layers)
    states = passes[-1]
    references = vlm.reference_states(vlm.upper(states), states)
    for index, (benchmark, split, sample, _) in enumerate(asked):
        seen = states.mask[index]
        hidden = {layer: at.hidden[index][seen] for layer, at in zip(layers, passes, strict=True)}
        owner = Answered(sample.sample_id, benchmark, split, sample.image, texts[index], status[index])
        boxes = vlm.token_boxes(*images[index].shape[:2])
        writer.add(owner, hidden, states.token_types[index][seen], states.ids[index][seen], references[index], boxes)


def _words(
    vlm: VisionLanguageModel, prompts: Prompts, given: list[str | None], longest: int
) -> tuple[list[str], list[list[int]], list[str]]:
    """Status, ids of the well-formed answer and text of each answer: the given words, or the policy's own."""
    if all(words is not None for words in given):
        formed = [vlm.answer_ids(words) for words in given if words is not None]
        return ["ok"] * len(given), formed, [vlm.text(torch.tensor(ids)) for ids in formed]
    rollouts = vlm.generate(prompts, 1, None, longest, None)
    return *well_formed(vlm, rollouts), [vlm.text(ids) for ids in rollouts.valid_ids]


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("cache_answers", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
