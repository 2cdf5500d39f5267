"""The warm-up moves the interface and nothing else, takes every answer before any again, and a killed one ends the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from segcompass.joint.warm_up import WarmUp, fit_statistics

from segcompass.backbone.interface import INSTRUCTION, THOUGHT
from segcompass.joint.cached_answers import AnswersWriter, CachedAnswer, CachedAnswers
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.model import JointModel
from segcompass.study.joint import JointSettings
from segcompass.study.study import changed
from tests.tiny import SLOTS, micro_study, tiny_joint

pytestmark = pytest.mark.numerical

ANSWERS = 8


def settings(**changes: object) -> JointSettings:
    raw = micro_study().joint.model_dump(mode="json")
    return JointSettings.model_validate(changed(raw, {"checkpoint_every": 2, "warm_up.steps": 6, "warm_up.batch": 4, **changes}))


@pytest.fixture
def answers(tmp_path: Path) -> CachedAnswers:
    """Answers whose thought is one of two words, of pictures of which the left or the right half is the object; the last has none."""
    model = tiny_joint()
    generator = torch.Generator().manual_seed(1)
    width, side, channels = model.vlm.hidden_width, model.segmenter.mask_side, model.segmenter.channels
    words = 3 * torch.randn(2, 5, width, generator=generator)
    writer = AnswersWriter(tmp_path, torch.float16)
    for number in range(ANSWERS):
        half = torch.zeros(1, side, side)
        half[:, :, slice(0, side // 2) if number % 2 else slice(side // 2, side)] = 1.0
        embedding = torch.randn(channels, side // 4, side // 4, generator=generator)
        embedding[0, :, : side // 8] += 4.0
        writer.add_image(str(number), embedding, torch.ones(side, side, dtype=torch.bool))
        hidden = torch.cat([torch.randn(3, width, generator=generator), words[number % 2]])
        types = torch.tensor([INSTRUCTION] * 3 + [THOUGHT] * 5, dtype=torch.uint8)
        states = torch.randn(SLOTS, width, generator=generator) + 5.0
        writer.add(str(number), CachedAnswer(hidden, types, states, half if number < ANSWERS - 1 else half[:0]))
    writer.close({"hook_layer": model.vlm.hook_layer})
    return CachedAnswers(tmp_path, torch.device("cpu"))


def fresh(chosen: JointSettings, answers: CachedAnswers) -> tuple[JointModel, WarmUp]:
    torch.manual_seed(0)
    model = tiny_joint(chosen)
    assert isinstance(model.interface, ConceptInterface)
    fit_statistics(model.interface, answers)
    return model, WarmUp(model, answers, chosen, seed=0)


def test_statistics_are_those_of_the_answers(answers: CachedAnswers) -> None:
    model, _ = fresh(settings(), answers)
    assert isinstance(model.interface, ConceptInterface)
    batch, mapper = answers.batch(range(ANSWERS)), model.interface.mapper
    assert mapper.reference_centring(batch.reference_states).mean((0, 1)).abs().max() < 1e-4
    assert mapper.embedding_whitening(batch.embeddings.movedim(1, -1)).mean((0, 1, 2)).abs().max() < 1e-3
    assert {name.rsplit(".", 2)[-2] for name in set(model.state()) - set(model.trained())} == {"reference_centring", "embedding_whitening"}


def test_the_interface_learns_and_nothing_else_moves(answers: CachedAnswers, tmp_path: Path) -> None:
    model, warm_up = fresh(settings(**{"warm_up.steps": 60, "warm_up.batch": ANSWERS}), answers)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    rows = warm_up.run(tmp_path).rows
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in moved} == {"codebook", "mapper"} and all(name.startswith("interface.") for name in moved)
    dice = [row["heat_dice"] for row in rows]
    assert np.mean(dice[-5:]) < 0.6 * np.mean(dice[:5])


def test_every_answer_comes_once_before_any_comes_again(answers: CachedAnswers) -> None:
    _, warm_up = fresh(settings(**{"warm_up.batch": 3}), answers)
    taken = [row for step in range(16) for row in warm_up._rows(step)]
    for epoch in range(6):
        assert sorted(taken[epoch * ANSWERS : (epoch + 1) * ANSWERS]) == list(range(ANSWERS))
    assert taken[:ANSWERS] != taken[ANSWERS : 2 * ANSWERS]


def test_a_killed_warm_up_ends_with_the_same_bytes(answers: CachedAnswers, tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, one = fresh(settings(), answers)
    record = one.run(tmp_path / "whole")
    _, killed = fresh(settings(), answers)
    losses = killed.losses

    def stop(step: int) -> dict[str, torch.Tensor]:
        if step == 3:
            raise KeyboardInterrupt
        return losses(step)

    killed.losses = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        killed.run(tmp_path / "killed")
    resumed, again = fresh(settings(), answers)
    assert again.run(tmp_path / "killed").rows == record.rows
    assert all(torch.equal(value, resumed.state()[name]) for name, value in whole.state().items())
