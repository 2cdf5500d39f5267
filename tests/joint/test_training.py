"""Training happens: what is trained moves, what is frozen does not, losses fall, the reward is learnt, a killed run ends the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.backbone.prompt import canonical, status_of
from segcompass.joint.batches import Batch
from segcompass.joint.inference import Predictor, leading_slots
from segcompass.joint.rollouts import Answers
from segcompass.joint.trainer import JointTrainer, partly_detached
from segcompass.joint.validation import KeptWeights, Validation
from segcompass.optimisation.processes import Processes
from segcompass.optimisation.streamed_resume import StreamedResumePoint
from segcompass.study.experiments import changed
from segcompass.study.interface import ModelSettings
from segcompass.study.joint import JointSettings
from tests.tiny import SLOTS, micro_study, pictures, tiny_joint


class TwoPrompts:
    """The same two prompts at every step: the left half and the right half of noise pictures."""

    def __init__(self, side: int) -> None:
        left = torch.zeros(1, side, side)
        left[:, :, : side // 2] = 1.0
        self.targets = [left, 1 - left]
        self.side = side
        self.embeddings = torch.randn(2, 32, side // 4, side // 4, generator=torch.Generator().manual_seed(3))

    def batch(self, step: int, size: int) -> Batch:
        valid = torch.ones(2, self.side, self.side, dtype=torch.bool)
        return Batch(["left red ring", "right red ring"], pictures(2), self.targets, self.embeddings, valid, [None, None])


class Scores(Validation):
    """Validations whose gIoU is given."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def row(self, step: int) -> dict[str, float]:
        return {"step": step, "gIoU": self.scores[step % len(self.scores)]}


def settings(**changes: object) -> JointSettings:
    raw = micro_study().joint.model_dump(mode="json")
    return JointSettings.model_validate(changed(raw, {"steps": 6, "checkpoint_every": 2, **changes}))


def interface(**changes: object) -> ModelSettings:
    return ModelSettings.model_validate(micro_study().interface.model.model_dump(mode="json") | changes)


def trainer(chosen: JointSettings, model_settings: ModelSettings | None = None) -> JointTrainer:
    torch.manual_seed(0)
    model = tiny_joint(model_settings)
    return JointTrainer(model, TwoPrompts(model.segmenter.mask_side), chosen, micro_study().answer, 0.5, 0)  # type: ignore[arg-type]


def test_trained_parts_move_frozen_parts_do_not(tmp_path: Path) -> None:
    run = trainer(settings())
    before = {name: value.detach().clone() for name, value in run.model.named_parameters()}
    run.run(tmp_path, Scores(0.0))
    moved = {name for name, value in run.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved <= set(run.model.trained())
    for part, mark in {
        "language": "language_model.layers.2.",
        "codebook": "interface.codebook.tokens.rows",
        "mapper": "interface.mapper.slot",
        "prompt_encoder": "prompt_encoder.mask_embed",
        "mask_decoder": "mask_decoder",
    }.items():
        assert any(mark in name for name in moved), part
    frozen = ("language_model.layers.0.", "language_model.layers.1.", "vision_tower", "dictionary", "vision_encoder", "embed_tokens")
    assert not [name for name in moved if any(mark in name for mark in frozen)]


def test_losses_fall_on_prompts_that_repeat(tmp_path: Path) -> None:
    rows = trainer(settings(steps=30, checkpoint_every=30, **{"policy.weight": 0.0})).run(tmp_path, Scores(0.0)).curve
    supervised = [sum(row[name] for name in ("heat_bce", "heat_dice", "mask_dice")) for row in rows]
    assert np.mean(supervised[-5:]) < 0.9 * np.mean(supervised[:5])


def test_reinforcement_raises_the_reward_it_is_given_and_its_null_twin_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form that is rewarded here: most tokens come from the lower half of the vocabulary."""
    half = len(tiny_joint().vlm.processor.tokenizer) // 2
    monkeypatch.setattr("segcompass.joint.rollouts.status_of", lambda ids, special: "ok" if np.median(ids) < half else "no thought")
    gains = {}
    for weight in (1.0, 0.0):
        keys = {"policy.weight": weight, "policy.kl": 0.0, "policy.group": 8, "segmentation.weight": 0.0, "learning_rates.language": 3e-3}
        run = trainer(settings(steps=25, checkpoint_every=25, **keys))
        for owner, name, nothing in (
            (run.model, "asked", (None, None)),
            (run.model.interface.mapper, "confidences", None),
            (run.model.interface.mapper, "heat_maps", None),
            (run.model, "masks", None),
            (run.model.vlm, "reference_states", None),
        ):
            monkeypatch.setattr(owner, name, lambda *parts, nothing=nothing: nothing)
        monkeypatch.setattr(run, "_mask_rewards", lambda output, targets, valid: np.zeros(len(targets)))
        folder = tmp_path / str(weight)
        folder.mkdir()
        share = [row["reward_format"] for row in run.run(folder, Scores(0.0)).curve]
        gains[weight] = np.mean(share[-5:]) - np.mean(share[:5])
    assert gains[1.0] > 0.2 > abs(gains[0.0])


def run_until_killed(killed: JointTrainer, at: int, folder: Path, validation: Validation) -> None:
    """Trains, and is interrupted as the step `at` begins."""
    step = killed._step

    def stop(number: int, optimiser: torch.optim.Optimizer) -> dict:
        if number == at:
            raise KeyboardInterrupt
        return step(number, optimiser)

    killed._step = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        killed.run(folder, validation)


def test_a_resumed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = trainer(settings())
    record = whole.run(tmp_path / "whole", Scores(0.0))

    run_until_killed(trainer(settings()), 3, tmp_path / "killed", Scores(0.0))
    resumed = trainer(settings())
    again = resumed.run(tmp_path / "killed", Scores(0.0))
    assert (again.curve, again.validation, again.kept_step) == (record.curve, record.validation, record.kept_step)
    for name, value in whole.model.trained().items():
        assert torch.equal(value, resumed.model.trained()[name]), name


def test_a_run_killed_behind_its_best_validation_ends_with_that_ones_weights(tmp_path: Path) -> None:
    keys = {"checkpoint": "best_on_val", "validation.every": 1, "checkpoint_every": 2}
    scores = Scores(0.1, 0.2, 0.2, 0.9, 0.3, 0.9, 0.1)  # after 0 … 6 steps
    best = trainer(settings(**keys, steps=6))
    seen = {}

    class Watching(Scores):
        def row(self, step: int) -> dict[str, float]:
            seen[step] = {name: value.detach().clone() for name, value in best.model.trained().items()}
            return scores.row(step)

    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    record = best.run(tmp_path / "whole", Watching())
    assert record.kept_step == 3 and len(record.validation) == 7
    run_until_killed(trainer(settings(**keys, steps=6)), 5, tmp_path / "killed", scores)
    point = StreamedResumePoint(tmp_path / "killed", "joint", Processes())
    resumed = trainer(settings(**keys, steps=6))
    point.load(
        resumed.model.trained() | KeptWeights("best_on_val", resumed.model.trained()).tensors(),
        resumed.model.optimiser(resumed.settings.learning_rates),
    )
    again = resumed.run(tmp_path / "killed", scores)
    assert (again.curve, again.validation, again.kept_step) == (record.curve, record.validation, 3)
    assert again.seconds["sampling"] > point.notes["seconds"]["sampling"] > 0
    for name, value in resumed.model.trained().items():
        assert torch.equal(value, seen[3][name]) and torch.equal(value, best.model.trained()[name]), name
    assert any(not torch.equal(seen[6][name], seen[3][name]) for name in seen[3])


def test_variants_of_a_seed_see_the_same_rollouts_at_the_first_step() -> None:
    answers = []
    for weight in (1.0, 0.0):
        run = trainer(settings(**{"policy.weight": weight}))
        losses, row = run.losses(run.prompts.batch(0, 2), 0)
        answers.append((row["answer_tokens"], row["entropy"], float(losses["heat_bce"].detach())))
        assert ("policy" in losses) == bool(weight)
    assert answers[0] == answers[1]


def test_predictions_follow_the_confidences_alone() -> None:
    model = tiny_joint().eval()
    predictor = Predictor(model, micro_study().answer.longest, 0.5)
    with torch.no_grad():
        thoughts = predictor.think(pictures(3), ["left red ring"] * 3)
        output = predictor.segment(thoughts)
        codes = thoughts.reading.codes
        assert isinstance(codes, torch.Tensor)
        assert torch.equal(predictor.segment(thoughts, codes.clone()).heat, output.heat)
    for prediction, size in zip(predictor.predictions(thoughts, output), thoughts.sizes, strict=True):
        assert prediction.masks.shape == (SLOTS, *size)
        assert prediction.slots == tuple(np.flatnonzero(prediction.confidences >= 0.5))
        assert leading_slots(prediction)
        assert prediction.status == "ok" or (not prediction.mask.any() and not prediction.no_target)


def test_canonical_answers_keep_the_form() -> None:
    model = tiny_joint()
    special = model.vlm.special
    for ids in ([], [9, 9], [special.open, 9], [special.open, 9, special.close, special.reference], [special.reference] * 7):
        assert status_of(canonical(ids, special), special) == "ok"


def test_the_rewards_of_an_answer_by_hand() -> None:
    form, masks = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.5, 0.5, 0.0, 1.0])
    by_hand = {
        (0.3, True, 1.0): [0.3 + 0.35, 0.0, 0.3, 0.0],
        (0.3, False, 1.0): [0.3 + 0.35, 0.35, 0.3, 0.7],
        (0.3, False, 2.0): [0.3 + 0.7 * 0.25, 0.7 * 0.25, 0.3, 0.7],
        (0.5, True, 1.0): [0.75, 0.0, 0.5, 0.0],
        (1.0, False, 1.0): [1.0, 0.0, 1.0, 0.0],
        (0.0, True, 1.0): [0.5, 0.0, 0.0, 0.0],
    }
    run = trainer(settings())
    for (share, gated, power), expected in by_hand.items():
        reward = {"format": share, "mask": 1 - share, "gated": gated, "mask_power": power}
        run.settings = settings(**{f"policy.reward.{name}": value for name, value in reward.items()})
        assert run._rewards(form, masks, 0).tolist() == [pytest.approx(expected[:2]), pytest.approx(expected[2:])]


def test_a_reward_of_masks_alone_ignores_the_form_if_it_is_not_gated() -> None:
    """`reward_0_1`: the form may break wherever it likes."""
    masks, keys = np.array([0.5, 0.2, 0.0, 1.0]), {"policy.reward.format": 0.0, "policy.reward.mask": 1.0}
    broken = [np.array(form) for form in ([1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0])]
    ungated, gated = (trainer(settings(**keys, **{"policy.reward.gated": gate})) for gate in (False, True))
    assert all(ungated._rewards(form, masks, 0).ravel().tolist() == masks.tolist() for form in broken)
    assert [gated._rewards(form, masks, 0).sum() for form in broken] == [pytest.approx(1.7), pytest.approx(1.2), 0.0]


def test_the_null_twin_permutes_the_rewards_it_was_given_and_nothing_else() -> None:
    masks, form = np.linspace(0.0, 1.0, 16), np.tile([0.0, 1.0], 8)
    keys = {"policy.group": 8}
    own, twin = (trainer(settings(**keys, **{"policy.rewards": rewards})) for rewards in ("own", "permuted"))
    expected, found = own._rewards(form, masks, 3), twin._rewards(form, masks, 3)
    assert found.shape == (2, 8) and sorted(found.ravel()) == sorted(expected.ravel()), "the same rewards"
    assert not np.array_equal(found, expected) and np.array_equal(found, twin._rewards(form, masks, 3)), "seeded"
    assert not np.array_equal(found, twin._rewards(form, masks, 4)), "drawn anew every step"
    twin.seed = 1
    assert not np.array_equal(found, twin._rewards(form, masks, 3))
    draws = np.stack([twin._rewards(form, np.arange(16.0) / 15, step).ravel() for step in range(400)])
    worth = np.array([np.corrcoef(draw, np.arange(16))[0, 1] for draw in draws])
    assert abs(worth.mean()) < 4 * worth.std() / 20, "a reward says nothing of its rollout"


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_share_of_the_gradient_flows_through_what_is_partly_detached(share: float) -> None:
    values = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    found = partly_detached(values, share)
    assert torch.equal(found.detach(), values.detach()) and found.requires_grad == bool(share)
    if share:
        (found * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
        assert values.grad.tolist() == [share, 10 * share, 100 * share]


def test_the_study_says_how_much_of_the_masks_gradient_reaches_the_policy() -> None:
    norms = {}
    for share in (1.0, 0.25, 0.0):
        run = trainer(settings(**{"segmentation_gradient": share, "policy.weight": 0.0, "policy.kl": 0.0}))
        losses, _ = run.losses(run.prompts.batch(0, 2), 0)
        torch.stack(list(losses.values())).sum().backward()
        parts = {name: [one.grad for one in part if one.grad is not None] for name, part in run.model.parts().items()}
        norms[share] = {name: float(sum(one.square().sum() for one in part)) ** 0.5 for name, part in parts.items()}
    assert norms[0.0]["language"] == 0.0 < norms[1.0]["language"]
    assert norms[0.25]["language"] == pytest.approx(0.25 * norms[1.0]["language"], rel=1e-4)
    for part in ("codebook", "mapper", "prompt_encoder", "mask_decoder"):
        assert norms[0.0][part] == pytest.approx(norms[1.0][part], rel=1e-4) and norms[1.0][part] > 0


def test_groups_without_spread_are_left_out_of_the_policys_loss_if_the_study_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two groups differs in its form, so the mean over the live ones is twice that over all."""
    monkeypatch.setattr(Answers, "valid", property(lambda self: np.array([True, False, True, True])))
    found = {}
    for live in (True, False):
        run = trainer(settings(**{"policy.live_groups": live, "policy.advantages": "centred", "policy.reward.gated": False}))
        monkeypatch.setattr(run, "_mask_rewards", lambda output, targets, valid: np.zeros(len(targets)))
        losses, row = run.losses(run.prompts.batch(0, 2), 0)
        losses["policy"].backward()
        squares = [parameter.grad.square().sum() for parameter in run.model.parts()["language"] if parameter.grad is not None]
        found[live] = float(torch.stack(squares).sum().sqrt())
        assert row["live_groups"] == 0.5 and row["reward"] == pytest.approx(0.75 * 0.3)
        # Rewards 0.3 and 0: deviation 0.3 / sqrt(2) in one group of two, 0 in the other.
        assert row["reward_spread"] == row["advantage_spread"] == pytest.approx(0.15 / 2**0.5)
    assert found[True] == pytest.approx(2 * found[False], rel=1e-4) and found[False] > 0


VARIANTS = {
    "full": ({}, {}),
    "rl_only": ({"segmentation.weight": 0.0}, {}),
    "no_gradient": ({"segmentation_gradient": 0.0}, {}),
    "sae_only": ({}, {"reference_state": False}),
    "ref_only": ({}, {"readout": "references"}),
    "text_readout": ({}, {"readout": "words", "reference_state": False}),
    "no_codebook": ({}, {"codebook": "pooled"}),
    "no_slot_mapper": ({}, {"mapper": "dot"}),
    "no_cot": ({}, {"thought_codes": False}),
    "slots_1": ({}, {"slots": 1}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_what_it_has_and_predicts(name: str, tmp_path: Path) -> None:
    changes, model_changes = VARIANTS[name]
    run = trainer(settings(steps=2, checkpoint_every=2, **changes), interface(**model_changes))
    before = {key: value.detach().clone() for key, value in run.model.trained().items()}
    rows = run.run(tmp_path, Scores(0.0)).curve
    moved = {key for key, value in run.model.trained().items() if not torch.equal(value, before[key])}
    assert len(rows) == 2 and {row["reward"] for row in rows} == {0.0}
    # Without any reward the language model learns through the reference states alone.
    assert any("language_model" in key for key in moved) == (name not in ("rl_only", "no_gradient", "sae_only", "text_readout"))
    assert any("mask_decoder" in key for key in moved) == (name != "rl_only")
    assert any("codebook" in key for key in moved) == any("mapper" in key for key in moved) == (name != "rl_only")
    predictor = Predictor(run.model.eval(), micro_study().answer.longest, 0.5)
    thoughts = predictor.think(pictures(2), ["left red ring"] * 2)
    codes = thoughts.reading.codes
    assert isinstance(codes, torch.Tensor)
    with torch.no_grad():
        output = predictor.segment(thoughts)
        edited = predictor.segment(thoughts, torch.zeros_like(codes)).heat
    assert output.heat.shape[1] == output.mask_logits.shape[1] == run.model.settings.slots
    assert torch.equal(output.heat, edited) == (name in ("ref_only", "text_readout")), "concepts carry the rest"
