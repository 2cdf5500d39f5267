"""Training happens: what is trained moves, what is frozen does not, losses fall, the reward is learnt, a killed run ends the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.backbone.prompt import canonical, status_of
from segcompass.joint.batches import Batch
from segcompass.joint.inference import Predictor, leading_slots
from segcompass.joint.trainer import JointTrainer
from segcompass.joint.validation import KeptWeights, Validation
from segcompass.optimisation.resume import ResumePoint
from segcompass.study.joint import JointSettings
from segcompass.study.study import changed
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


def trainer(chosen: JointSettings) -> JointTrainer:
    torch.manual_seed(0)
    model = tiny_joint(chosen)
    return JointTrainer(model, TwoPrompts(model.segmenter.mask_side), chosen, micro_study().answer, 0.5, 0)  # type: ignore[arg-type]


def test_trained_parts_move_frozen_parts_do_not(tmp_path: Path) -> None:
    run = trainer(settings())
    before = {name: value.detach().clone() for name, value in run.model.named_parameters()}
    run.run(tmp_path, Scores(0.0))
    moved = {name for name, value in run.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved <= set(run.model.trained())
    for part, mark in {
        "language": "language_model.layers.2.",
        "codebook": "interface.codebook.rows",
        "mapper": "interface.mapper.slot",
        "prompt_encoder": "prompt_encoder.mask_embed",
        "mask_decoder": "mask_decoder",
    }.items():
        assert any(mark in name for name in moved), part
    frozen = ("language_model.layers.0.", "language_model.layers.1.", "vision_tower", "dictionary", "vision_encoder", "embed_tokens")
    assert not [name for name in moved if any(mark in name for mark in frozen)]


def test_no_steps_leave_a_model_as_it_was_drawn(tmp_path: Path) -> None:
    run = trainer(settings(steps=0))
    before = {name: value.detach().clone() for name, value in run.model.trained().items()}
    assert run.run(tmp_path, Scores(0.0)).curve == []
    assert all(torch.equal(value, before[name]) for name, value in run.model.trained().items())


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
            (run.model, "read", (None, None)),
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
    point = ResumePoint(tmp_path / "killed", "joint")
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
        assert torch.equal(predictor.segment(thoughts, thoughts.codes.clone()).heat, output.heat)
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


VARIANTS = {
    "rl_only": {"segmentation.weight": 0.0},
    "sae_only": {"interface.reference_state": False},
    "ref_only": {"interface.slots": False},
    "text_readout": {"interface.readout": "text"},
    "no_codebook": {"interface.codebook": "pooled"},
    "no_slot_mapper": {"interface.mapper": "dot"},
    "no_cot": {"interface.thought_codes": False},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_what_it_has_and_predicts(name: str, tmp_path: Path) -> None:
    run = trainer(settings(steps=2, checkpoint_every=2, **VARIANTS[name]))
    before = {key: value.detach().clone() for key, value in run.model.trained().items()}
    rows = run.run(tmp_path, Scores(0.0)).curve
    moved = {key for key, value in run.model.trained().items() if not torch.equal(value, before[key])}
    assert len(rows) == 2 and {row["reward"] for row in rows} == {0.0}
    # Without any reward the language model learns through the reference states alone.
    assert any("language_model" in key for key in moved) == (name not in ("rl_only", "sae_only", "text_readout"))
    assert any("mask_decoder" in key for key in moved) == (name != "rl_only")
    assert any("codebook" in key for key in moved) == (name not in ("rl_only", "ref_only", "text_readout"))
    predictor = Predictor(run.model.eval(), micro_study().answer.longest, 0.5)
    thoughts = predictor.think(pictures(2), ["left red ring"] * 2)
    with torch.no_grad():
        heat = predictor.segment(thoughts).heat
        edited = predictor.segment(thoughts, torch.zeros_like(thoughts.codes)).heat
    assert torch.equal(heat, edited) == (name in ("ref_only", "text_readout")), "concepts carry the rest"
