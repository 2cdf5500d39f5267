"""The trainer's losses and gradients are those of a plain step that takes none of its short cuts (benchmarks/plain/joint_step.py).

Every loss agrees to 1e-5, and every gradient to 1e-5 of the parameter's largest entry: float32 keeps seven digits of a sum, and the two
sides add up in different orders, so an entry far below the largest has no five digits of its own. Where all of a parameter's gradient
cancels (biases of keys, which softmax does not see), `ROUNDING` is what may be left of it: a few last bits of a loss near one.
Trained parts are moved away from the reference, and old log-probabilities from new ones: without that, KL term and clipping would be
nothing on both sides.
Both readings of the study's keys are compared: those of the default study, and those of the paper.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from benchmarks.plain.joint_step import PlainTrainer, Sampled
from segcompass.backbone.interface import Rollouts
from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.backbone.prompt import answer_text
from segcompass.joint.batches import Batch
from segcompass.joint.model import JointModel
from segcompass.joint.trainer import JointTrainer
from segcompass.sae.topk import TopKDictionary
from segcompass.study.experiments import changed
from segcompass.study.joint import JointSettings
from segcompass.study.load import load_study
from tests.tiny import pictures

pytestmark = pytest.mark.numerical

STUDY, SHIPPED = Path("params/default.yaml"), Path("backbones/embedded")
GROUP, TOLERANCE, ROUNDING = 3, 1e-5, 5e-7
CONFIDENT = 0.44
"""Threshold that some of the untrained slots pass."""
THOUGHTS = ["the red ring left", "a ring", "the red ring left", "", "blue disc above", "blue disc above", "no", "no", "a small disc"]
"""Of the prompts' answers in turn; some of one prompt are the same."""
MALFORMED = ["<think> red", "red </think> <REF_POS> <REF_POS>", "<REF_POS> " * 7]


KEYS = {
    "default": {},
    "paper": {
        "segmentation_gradient": 1.0,
        "policy.advantages": "scaled",
        "policy.live_groups": False,
        "policy.reward.gated": True,
    },
    "between": {"segmentation_gradient": 0.25, "policy.reward.mask_power": 2.0, "policy.reward.format": 0.0, "policy.reward.mask": 1.0},
    "seg_only": {"policy.weight": 0.0, "segmentation_gradient": 0.5},
}
"""What differs from the section `joint` of the default study."""


@pytest.fixture(params=KEYS)
def pair(request: pytest.FixtureRequest) -> "Pair":
    return Pair(KEYS[request.param])


class Pair:
    """The shipped backbone with a dictionary as sparse as the study's, driven by the trainer and plainly."""

    def __init__(self, keys: dict[str, object]) -> None:
        study = load_study(STUDY)
        raw = changed(study.joint.model_dump(mode="json"), {"policy.group": GROUP, **keys})
        settings = JointSettings.model_validate(raw)
        interface = study.interface_variant(settings.interface).model.model_copy(update={"threshold": 0.5})
        torch.manual_seed(0)
        self.vlm, segmenter = load_vlm(SHIPPED / "vlm", study.runtime, study.answer), load_segmenter(SHIPPED / "sam", study.runtime)
        dictionary = TopKDictionary(self.vlm.hidden_width, study.saes["topk"].width, study.saes["topk"].k)
        dictionary.hook_layer = study.activations.hook_layer
        self.model = JointModel(self.vlm, segmenter, dictionary, interface, study.answer.max_thought_tokens)
        self.ours = JointTrainer(self.model, None, settings, study.answer, CONFIDENT, 0)  # type: ignore[arg-type]
        self.plain = PlainTrainer(self.model, settings, study.answer.longest, CONFIDENT)
        with torch.no_grad():
            for name, parameter in self.model.trained().items():
                parameter += (0.1 if name.startswith("interface.") else 0.003) * torch.randn(parameter.shape)
        self.batch = batch(self.model)
        self.repeated = self.plain.repeated_prompts(self.batch)

    def fix(self, texts: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Sampled:
        """Makes the trainer sample these answers, N texts; returns them for the plain side."""
        ids = [self.vlm.processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        longest = max(map(len, ids))
        mask = torch.tensor([[place < len(answer) for place in range(longest)] for answer in ids])
        answers = torch.tensor([answer + [self.vlm.pad_id] * (longest - len(answer)) for answer in ids])
        states = self.vlm.lower(self.vlm.prompts(self.batch.images, self.batch.texts), answers, mask)
        with torch.no_grad():
            log_probs = self.vlm.answer_log_probs(self.vlm.upper(states), states, self.ours.settings.policy.temperature)
        old = (log_probs + 0.3 * torch.randn(mask.shape)) * mask
        prompt_hidden, hidden = states.hidden[::GROUP, : states.prompt_length], states.hidden[:, states.prompt_length :]
        followed = mask & torch.cat([mask[:, 1:], torch.zeros(len(mask), 1, dtype=torch.bool)], 1)
        rollouts = Rollouts(answers, mask, old, prompt_hidden, hidden * followed[..., None])
        monkeypatch.setattr(self.vlm, "generate", lambda *_: rollouts)
        return Sampled(answers, mask, old)

    def gradients(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        self.model.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        return {name: parameter.grad.clone() for name, parameter in self.model.trained().items() if parameter.grad is not None}

    def assert_equal(self, ours: dict[str, Tensor], plain: dict[str, Tensor]) -> None:
        names = {"kl", "confidence", "heat_bce", "heat_dice", "mask_dice", "mask_focal"}
        assert ours.keys() == plain.keys() == names | ({"policy"} if self.ours.settings.policy.weight else set())
        for name, loss in ours.items():
            assert abs(float(loss.detach() - plain[name].detach())) <= TOLERANCE, name
        own, expected = self.gradients(ours), self.gradients(plain)
        assert own.keys() == expected.keys()
        for name, gradient in expected.items():
            assert float((own[name] - gradient).abs().max()) <= TOLERANCE * float(gradient.abs().max()) + ROUNDING, name


def batch(model: JointModel) -> Batch:
    """Prompts for one object, for two, and for none; texts of different lengths, pictures of different shapes."""
    images, side = pictures(GROUP), model.segmenter.mask_side
    inputs = model.segmenter.inputs(images)
    left, top = torch.zeros(2, 1, side, side)
    left[..., : side // 2], top[:, : side // 3] = 1.0, 1.0
    texts = ["left red ring", "the small striped ring left of the blue disc", "red object"]
    return Batch(texts, images, [left, torch.cat([1 - left, top]), left[:0]], model.segmenter.embed(inputs), inputs.valid, [None] * 3)


def test_both_sample_the_same_answers_from_a_seed_and_learn_the_same_from_them(pair: Pair) -> None:
    sampled = []
    generate = pair.vlm.generate
    pair.vlm.generate = lambda *parts: sampled.append(generate(*parts)) or sampled[0]
    ours, _ = pair.ours.losses(pair.batch, 5)
    plain = pair.plain.sample(pair.repeated, 5)
    assert torch.equal(plain.ids, sampled[0].answers) and torch.equal(plain.mask, sampled[0].answer_mask)
    assert float((plain.log_probs - sampled[0].log_probs).abs().max()) < TOLERANCE
    pair.assert_equal(ours, pair.plain.losses(pair.batch, pair.repeated, plain))


@pytest.mark.parametrize("malformed", [0, 1, 3])
def test_given_answers_teach_the_same(pair: Pair, malformed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without malformed answers the trainer has one pass for policy and masks, with them it has two."""
    texts = [answer_text(thought, 4) + "</s>" for thought in THOUGHTS]
    for place, text in enumerate(MALFORMED[:malformed]):
        texts[4 * place] = text
    answers = pair.fix(texts, monkeypatch)
    ours, row = pair.ours.losses(pair.batch, 0)
    assert row["reward_format"] == pytest.approx(1 - malformed / len(texts))
    assert row["reward_spread"] > 0 and row["clip_fraction"] > 0 and float(ours["kl"].detach()) > 0 and row["live_groups"] > 0
    pair.assert_equal(ours, pair.plain.losses(pair.batch, pair.repeated, answers))


@pytest.mark.parametrize("norms", [(0.02, 0.05), (0.02, 1e9), (1e9, 0.05)], ids=["both", "the policy", "the others"])
def test_gradients_are_clipped_as_plainly(norms: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair({"clip_norm.language": norms[0], "clip_norm.others": norms[1], "warmup_fraction": 0.0})
    answers = pair.fix([answer_text(thought, 4) + "</s>" for thought in THOUGHTS], monkeypatch)
    pair.ours.prompts = SimpleNamespace(batch=lambda step, size: pair.batch)  # type: ignore[assignment]
    before = {name: value.detach().clone() for name, value in pair.model.trained().items()}
    expected = pair.gradients(pair.plain.losses(pair.batch, pair.repeated, answers))
    pair.plain.clip_gradients()
    clipped = {name: value.grad.clone() for name, value in pair.model.trained().items() if value.grad is not None}
    row = pair.ours._step(0, torch.optim.SGD(list(pair.model.trained().values()), lr=1.0))
    language = {name for name in clipped if name.startswith("vlm.")}
    for own, greatest in ((language, norms[0]), (set(clipped) - language, norms[1])):
        whole, left = (torch.cat([part[name].flatten() for name in own]).norm() for part in (expected, clipped))
        assert float(left) == pytest.approx(min(float(whole), greatest), rel=1e-3) and float(whole) > 0.1
    assert row["norm_language"] == pytest.approx(float(torch.cat([expected[name].flatten() for name in language]).norm()), rel=1e-4)
    for name, value in pair.model.trained().items():
        moved = before[name] - value.detach()
        wanted = clipped.get(name, torch.zeros_like(moved))
        # The difference of two weights has the rounding of the weights themselves.
        rounding = 2 * torch.finfo(torch.float32).eps * float(before[name].abs().max())
        assert float((moved - wanted).abs().max()) <= TOLERANCE * float(wanted.abs().max()) + ROUNDING + rounding, name
