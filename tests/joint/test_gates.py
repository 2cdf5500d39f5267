"""The gates of a base policy on answers that are given: shares and differences by hand; and what fine-tuning can and cannot teach."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.prompt import answer_text
from segcompass.datasets.artefact import LearningData, manifest
from segcompass.datasets.masks import empty, encode
from segcompass.datasets.samples import Sample, write_samples
from segcompass.joint import gates
from segcompass.joint.batches import low_resolution_targets
from segcompass.joint.gates import Asked, asked_samples, learnable, room, worth
from segcompass.joint.inference import Prediction, Predictor
from segcompass.joint.rewards import mask_reward
from tests.tiny import SLOTS, micro_study, pictures, tiny_joint, tiny_vlm

GOLD = "thing : red disc . target : small red plain disc at top left"
TEXTS = {
    "considered right": GOLD,
    "considered wrong": "thing : red disc . target : no such object",
    "hasty right": "target : small red plain disc at top left",
    "hasty wrong": "target : large blue plain disc at right",
}
BROKEN = "hasty right, form broken"


def sample(name: str, no_target: bool = False) -> Sample:
    """Of two rows and four columns, the upper row the target."""
    target = np.zeros((2, 4), bool)
    target[0] = not no_target
    return Sample(name, "i.jpg", 2, 4, "left red disc", no_target, encode(target), None, () if no_target else (encode(target),))


DATA = SimpleNamespace(image=lambda sample: pictures(1)[0][:2, :4])
ASKED: list[Asked] = [("refcoco", sample("a"), GOLD), ("refcoco", sample("b"), GOLD), ("grefcoco", sample("c"), GOLD)]


def ids_of(vlm: LlavaModel, kind: str) -> torch.Tensor:
    text = answer_text(TEXTS["hasty right"], SLOTS - 1) if kind == BROKEN else answer_text(TEXTS[kind], SLOTS)
    return torch.tensor([*vlm.processor.tokenizer(text, add_special_tokens=False)["input_ids"], vlm.end_id])


class Said:
    """Answers in place of `generate`: one a prompt where it decodes greedily, and groups where it samples."""

    def __init__(self, vlm: LlavaModel, greedy: Sequence[str], groups: Sequence[Sequence[str]]) -> None:
        self.vlm, self.greedy, self.groups = vlm, list(greedy), list(groups)
        self.asked: list[tuple[int, float | None, int]] = []

    def __call__(self, prompts: object, rollouts: int, temperature: float | None, longest: int, generator: object) -> SimpleNamespace:
        count = len(prompts.ids)  # type: ignore[attr-defined]
        self.asked.append((rollouts, temperature, count))
        source = self.greedy if temperature is None else self.groups
        part, source[:] = source[:count], source[count:]
        kinds = part if temperature is None else [kind for group in part for kind in group]
        return SimpleNamespace(valid_ids=[ids_of(self.vlm, kind) for kind in kinds])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four samples a prompt, two prompts at a time."""
    monkeypatch.setattr(gates, "SAMPLES", 4)
    monkeypatch.setattr(gates, "BATCH", 2)


def test_room_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = tiny_vlm()
    said = Said(
        vlm,
        ["considered right", "hasty wrong", "hasty right"],
        [
            ["considered right", "hasty wrong", "hasty wrong", BROKEN],
            ["hasty wrong", "hasty wrong", "considered wrong", "hasty wrong"],
            ["hasty right", "hasty right", "considered right", "hasty right"],
        ],
    )
    monkeypatch.setattr(vlm, "generate", said)
    found = room(vlm, DATA, ASKED, 30, 0)  # type: ignore[arg-type]
    assert said.asked == [(1, None, 2), (4, 1.0, 2), (1, None, 1), (4, 1.0, 1)]
    assert found == pytest.approx(
        {
            "greedy_right": 2 / 3,
            "greedy_considered": 1 / 3,
            "pass_at_4": 2 / 3,
            "mixed_groups": 1 / 3,  # the first; the second is all wrong, the third all right
            "sampled_form_broken": 1 / 12,
            "sampled_considered": 3 / 12,
            "sampled_right_if_considered": 2 / 3,
            "sampled_right_if_hasty": 4 / 9,  # the broken one, and three of the third prompt
        }
    )


def test_shares_of_ways_that_nobody_took_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = tiny_vlm()
    monkeypatch.setattr(vlm, "generate", Said(vlm, ["hasty wrong"], [["hasty wrong"] * 4]))
    found = room(vlm, DATA, ASKED[:1], 30, 0)  # type: ignore[arg-type]
    assert found["sampled_right_if_considered"] == found["pass_at_4"] == found["mixed_groups"] == 0.0


def test_sampled_answers_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm, drawn = tiny_vlm(), []
    generate = vlm.generate

    def watched(*given: object) -> object:
        rollouts = generate(*given)  # type: ignore[arg-type]
        drawn[-1].append(rollouts.answers)
        return rollouts

    monkeypatch.setattr(vlm, "generate", watched)
    for seed in (0, 0, 1):
        drawn.append([])
        room(vlm, DATA, ASKED[:2], 8, seed)  # type: ignore[arg-type]
    (_, first), (_, again), (_, other) = drawn
    assert torch.equal(first, again) and not torch.equal(first, other)


def prediction(confidences: list[float]) -> Prediction:
    """Slot 0 has the left half, slot 1 everything, slot 2 the target; confident from one half on."""
    masks = np.zeros((3, 2, 4), bool)
    masks[0, :, :2], masks[1], masks[2, 0] = True, True, True
    return Prediction("ok", np.array(confidences), tuple(np.flatnonzero(np.array(confidences) >= 0.5)), masks)


OWN = [prediction([0.9, 0.1, 0.1]), prediction([0.1, 0.9, 0.1]), prediction([0.1, 0.1, 0.1])]
TAUGHT = [prediction([0.1, 0.1, 0.9]), prediction([0.1, 0.9, 0.1]), prediction([0.9, 0.9, 0.1])]


class Masks:
    """A predictor whose masks are given."""

    def __init__(self, vlm: LlavaModel) -> None:
        self.model, self.longest = SimpleNamespace(vlm=vlm), 30
        self.left = {"own": list(OWN), "gold": list(TAUGHT)}

    def think(self, images: list, texts: list) -> tuple[str, int]:
        return "own", len(texts)

    def read(self, images: list, texts: list, words: list) -> tuple[str, int]:
        assert set(words) == {GOLD}
        return "gold", len(texts)

    def segment(self, thoughts: object) -> None:
        return None

    def predictions(self, thoughts: tuple[str, int], output: None) -> list[Prediction]:
        kind, count = thoughts
        found, self.left[kind] = self.left[kind][:count], self.left[kind][count:]
        return found


def test_worth_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = tiny_vlm()
    groups = [
        ["considered right", "hasty wrong", BROKEN, "hasty wrong"],
        ["considered right", "hasty right", "hasty right", "hasty right"],
        ["hasty wrong", "hasty wrong", "hasty wrong", "hasty right"],
    ]
    earned = {"a": [0.9, 0.2, 0.7, 0.4], "c": [0.1, 0.2, 0.3, 1.0]}
    monkeypatch.setattr(vlm, "generate", Said(vlm, [], groups))
    monkeypatch.setattr(gates, "_mask_rewards", lambda predictor, data, sample, answers: np.array(earned[sample.sample_id]))
    found = worth(Masks(vlm), DATA, ASKED, 0)  # type: ignore[arg-type]
    # a: four of the left half's pixels and four of the target's share two: 2 / 6, with the gold thought all. b: 4 of 8 both times.
    # c: nothing is predicted of four pixels; with the gold thought both confident slots are everything, 4 of 8.
    assert found == pytest.approx(
        {
            "gIoU_refcoco": (1 / 3 + 1 / 2) / 2,
            "gIoU_grefcoco": 0.0,
            "gIoU_gold_refcoco": (1 + 1 / 2) / 2,
            "gIoU_gold_grefcoco": 0.5,
            "gold_gap_refcoco": 1 / 3,
            "gold_gap_grefcoco": 0.5,
            "mask_reward_right": (0.8 + 1.0) / 2,  # the group of b has no wrong thought
            "mask_reward_wrong": (0.3 + 0.2) / 2,
            "mask_reward_gap": 0.9 - 0.25,
        }
    )


def test_without_a_group_that_has_both_there_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = tiny_vlm()
    monkeypatch.setattr(vlm, "generate", Said(vlm, [], [["hasty right"] * 4, ["hasty wrong"] * 4, ["considered right"] * 4]))
    found = worth(Masks(vlm), DATA, ASKED, 0)  # type: ignore[arg-type]
    assert not [name for name in found if name.startswith("mask_reward")] and all(np.isfinite(list(found.values())))


@torch.no_grad()
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.1])
def test_mask_rewards_are_those_of_each_answer_alone(threshold: float) -> None:
    predictor = Predictor(tiny_joint().eval(), micro_study().answer.longest, threshold)
    vlm, image = predictor.model.vlm, pictures(1)[0]
    half = np.zeros(image.shape[:2], bool)
    half[:, :64] = True
    answers = [vlm.answer_ids(text) for text in ("red ring", "a small blue disc at top left", "no such object")]
    data = SimpleNamespace(image=lambda sample: image)
    for no_target in (False, True):
        target = encode(half & (not no_target))
        asked = Sample("s", "i", *image.shape[:2], "left ring", no_target, target, None, () if no_target else (target,))
        found = gates._mask_rewards(predictor, data, asked, answers)  # type: ignore[arg-type]
        expected = []
        for answer in answers:
            thoughts = predictor.read_ids([image], ["left ring"], [answer])
            (one,) = predictor.predictions(thoughts, output := predictor.segment(thoughts))
            probabilities = output.mask_logits[0].sigmoid() * thoughts.valid[0]
            expected.append(mask_reward(probabilities[list(one.slots)], low_resolution_targets(predictor.model.segmenter, asked)))
        assert found == pytest.approx(np.array(expected), abs=1e-4)
        if threshold == 1.1:
            assert found.tolist() == [float(no_target)] * 3, "no slot is confident"
        if threshold == 0.0:
            assert (found > 0).all() != no_target


def test_fine_tuning_teaches_what_it_is_shown_and_moves_what_joint_training_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "FINE_TUNING", {"steps": 120, "prompts": 4, "learning_rate": 3e-3})
    thoughts = {"left red ring": "target : no such object", "white disc": "target : small red plain disc at top"}
    asked: list[Asked] = []
    for number, (text, thought) in enumerate(thoughts.items()):
        asked.append(("refcoco", Sample(str(number), "i", 96, 128, text, True, empty(96, 128), None, ()), thought))
    data = SimpleNamespace(image=lambda sample: pictures(1)[0])
    vlm = tiny_vlm()
    vlm.freeze_up_to(2)
    before = {name: value.detach().clone() for name, value in vlm.named_parameters()}
    found = learnable(vlm, data, asked, asked, 20)  # type: ignore[arg-type]
    assert found == {"fine_tuning_before": 0.0, "fine_tuning_after": 1.0, "fine_tuning_gain": 1.0}
    moved = {name for name, value in vlm.named_parameters() if not torch.equal(value, before[name])}
    assert moved and moved <= {name for name, value in vlm.named_parameters() if value.requires_grad}
    assert any("layers.2." in name for name in moved) and not any("layers.1." in name or "vision" in name for name in moved)


def test_asked_samples_are_a_seeded_choice_of_each_benchmark_with_their_gold_thoughts(tmp_path: Path) -> None:
    (tmp_path / "supervision").mkdir()
    lines = []
    for benchmark in ("refcoco", "grefcoco"):
        path = manifest(tmp_path, benchmark, "val")
        path.parent.mkdir(parents=True)
        samples = [Sample(f"{benchmark}{n:02}", "i.jpg", 4, 4, "x", True, empty(4, 4), None, ()) for n in range(20)]
        write_samples(samples, path)
        lines += [json.dumps({"sample_id": one.sample_id, "thought": f"target : {one.sample_id}"}) for one in samples]
    (tmp_path / "supervision" / "val.jsonl").write_text("\n".join(lines) + "\n")
    data = LearningData(tmp_path)
    found = asked_samples(data, ["refcoco", "grefcoco"], "val", 6)
    assert [benchmark for benchmark, *_ in found] == ["refcoco"] * 6 + ["grefcoco"] * 6
    assert all(thought == f"target : {one.sample_id}" and one.sample_id.startswith(benchmark) for benchmark, one, thought in found)
    names = [one.sample_id for _, one, _ in found]
    assert names == [*sorted(names[:6]), *sorted(names[6:])] and len(set(names)) == 12
    assert found == asked_samples(data, ["refcoco", "grefcoco"], "val", 6)
    assert [name[-2:] for name in names[:6]] != [name[-2:] for name in names[6:]], "benchmarks are drawn apart"
    assert len(asked_samples(data, ["refcoco"], "val", 1000)) == 20
