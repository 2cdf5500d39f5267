"""An interface learns from cached answers, whatever its slots are made from, and nothing else moves; a killed training ends the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.backbone.interface import INSTRUCTION, THOUGHT
from segcompass.joint.cached_answers import Answered, AnswersWriter, CachedAnswers
from segcompass.joint.cached_images import CachedImages, ImagesWriter
from segcompass.joint.model import InterfaceModel
from segcompass.joint.training import InterfaceTraining, fit_statistics
from segcompass.study.experiments import changed
from segcompass.study.interface import InterfaceSettings
from tests.tiny import SLOTS, micro_study, tiny_dictionary, tiny_sam

pytestmark = pytest.mark.numerical

ANSWERS = 8
SEEN = 6
"""Tokens of an answer: three of the instruction, three of the thought."""


def settings(**changes: object) -> InterfaceSettings:
    raw = micro_study().interface.model_dump(mode="json")
    keys = {"training.checkpoint_every": 2, "training.heat_maps.steps": 5, "training.masks.steps": 5}
    return InterfaceSettings.model_validate(changed(raw, keys | changes))


class Cached:
    """Answers about one picture: their thought names its left half or its right half in words, in states and at the reference tokens.

    Nothing else tells the halves apart, so an interface that cannot see the thought cannot learn. The last answer has no target.
    """

    def __init__(self, folder: Path, with_targets: bool = True) -> None:
        sam, width = tiny_sam(), tiny_dictionary().input_width
        generator = torch.Generator().manual_seed(1)
        words = 3 * torch.randn(2, 3, width, generator=generator)
        states = 3 * torch.randn(2, SLOTS, width, generator=generator)
        for name in ("answers", "images"):
            (folder / name).mkdir(parents=True)
        answers, images = AnswersWriter(folder / "answers", torch.float16), ImagesWriter(folder / "images", torch.float16)
        embedding = torch.randn(sam.channels, sam.grid, sam.grid, generator=generator)
        embedding[0, :, : sam.grid // 2] += 4.0
        images.add_image("picture", embedding, torch.ones(sam.mask_side, sam.mask_side, dtype=torch.bool))
        asked = torch.randn(3, width, generator=generator)
        for number in range(ANSWERS):
            kind = number % 2
            half = torch.zeros(1, sam.mask_side, sam.mask_side)
            half[:, :, slice(0, sam.mask_side // 2) if kind else slice(sam.mask_side // 2, sam.mask_side)] = 1.0
            images.add_targets(str(number), half if with_targets and number < ANSWERS - 1 else half[:0])
            owner = Answered(str(number), "refcoco", "train", "picture", "x", "ok")
            types = torch.tensor([INSTRUCTION] * 3 + [THOUGHT] * 3, dtype=torch.uint8)
            ids = torch.tensor([1, 2, 3, 4, 5 + kind, 7])
            answers.add(owner, {2: torch.cat([asked, words[kind]])}, types, ids, states[kind] + 5.0, np.zeros((1, 4)))
        policy = {"vocabulary": 9, "slots": SLOTS, "longest": 4}
        assert answers.close({"layers": [2]} | policy) == ANSWERS and images.close({"segmenter": "sam"})["images"] == 1
        device = torch.device("cpu")
        self.answers, self.images = CachedAnswers(folder / "answers", 2, device), CachedImages(folder / "images", "sam", device)


@pytest.fixture
def cached(tmp_path: Path) -> Cached:
    return Cached(tmp_path / "cached")


def fresh(chosen: InterfaceSettings, cached: Cached) -> InterfaceTraining:
    torch.manual_seed(0)
    model = InterfaceModel(tiny_sam(), tiny_dictionary(), chosen.model, cached.answers.policy)
    fit_statistics(model.interface, cached.answers, cached.images)
    return InterfaceTraining(model, cached.answers, cached.images, chosen, seed=0)


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("slots", [1, SLOTS])
def test_statistics_are_those_of_the_answers(slots: int, cached: Cached) -> None:
    """Of the reference tokens that an interface with so many slots reads."""
    interface = fresh(settings(**{"model.slots": slots}), cached).model.interface
    states = cached.answers.batch(range(ANSWERS)).reference_states[:, :slots]
    embeddings, _ = cached.images.of(["picture"])
    assert interface.reference_centring(states).mean((0, 1)).abs().max() < 1e-4
    assert interface.mapper.embedding_whitening(embeddings.movedim(1, -1)).mean((0, 1, 2)).abs().max() < 1e-3


def test_a_checkpoint_holds_what_is_trained_and_what_was_fitted(cached: Cached) -> None:
    model = fresh(settings(), cached).model
    fitted = set(model.state()) - set(model.trained())
    assert {name.rsplit(".", 2)[-2] for name in fitted} == {"reference_centring", "embedding_whitening"}
    parts = model.parts()
    assert sum(map(len, parts.values())) == len(model.trained()) and set(parts) == {"codebook", "mapper", "prompt_encoder", "mask_decoder"}


def test_each_phase_moves_its_own_parts_and_nothing_else(cached: Cached, tmp_path: Path) -> None:
    for phase, parts in (("heat_maps", {"interface"}), ("masks", {"interface", "prompt_encoder", "mask_decoder"})):
        other = {"heat_maps": "masks", "masks": "heat_maps"}[phase]
        run = fresh(settings(**{f"training.{other}.steps": 0}), cached)
        before = {name: value.detach().clone() for name, value in run.model.state_dict().items()}
        (record,) = run.run(folder(tmp_path / phase))
        assert record.name == phase and len(record.rows) == 5 and {row["phase"] for row in record.rows} == {phase}
        moved = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
        assert moved <= set(run.model.trained())
        found = {next((part for part in ("prompt_encoder", "mask_decoder") if part in name), name.split(".")[0]) for name in moved}
        assert found == parts
        assert {name.split(".")[1] for name in moved if name.startswith("interface.")} == {"codebook", "mapper"}
        assert ("mask_dice" in record.rows[-1]) == ("mask_focal" in record.rows[-1]) == (phase == "masks")
        assert {"heat_bce", "heat_dice", "confidence"} <= set(record.rows[-1])


def test_shuffled_targets_teach_what_no_answer_names(cached: Cached) -> None:
    """Every prompt's objects are taught once, most of them to another prompt, and the seed alone says to which."""
    taught = []
    for seed in (0, 0, 1):
        chosen = settings(**{"training.targets": "shuffled"})
        run = InterfaceTraining(fresh(chosen, cached).model, cached.answers, cached.images, chosen, seed)
        taught.append([run.taught(row) for row in range(ANSWERS)])
    own = fresh(settings(), cached)
    names = [own.taught(row) for row in range(ANSWERS)]
    assert names == [owner.sample_id for owner in cached.answers.owners]
    assert taught[0] == taught[1] != taught[2] and all(sorted(some) == sorted(names) and some != names for some in taught)
    rows = [0, 1, 2]
    shuffled = fresh(settings(**{"training.targets": "shuffled"}), cached)
    assert not torch.equal(shuffled.batch_losses(rows, masks=False)["heat_bce"], own.batch_losses(rows, masks=False)["heat_bce"])


def test_no_steps_leave_an_interface_as_it_was_drawn(cached: Cached, tmp_path: Path) -> None:
    run = fresh(settings(**{"training.heat_maps.steps": 0, "training.masks.steps": 0}), cached)
    before = {name: value.detach().clone() for name, value in run.model.state().items()}
    assert run.run(tmp_path) == []
    assert all(torch.equal(value, before[name]) for name, value in run.model.state().items())


VARIANTS = {
    "reference": {},
    "dictionary_rows": {"model.rows": "dictionary"},
    "sae_only": {"model.reference_state": False},
    "ref_only": {"model.readout": "references"},
    "text_readout": {"model.readout": "words", "model.reference_state": False},
    "no_codebook": {"model.codebook": "pooled"},
    "no_slot_mapper": {"model.mapper": "dot"},
    "no_cot": {"model.thought_codes": False},
    "slots_1": {"model.slots": 1},
    "slots_2": {"model.slots": 2},
}
LONG = {"training.heat_maps.batch": ANSWERS, "training.heat_maps.steps": 50, "training.masks.steps": 0}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_learns_from_what_it_reads(name: str, cached: Cached, tmp_path: Path) -> None:
    run = fresh(settings(**LONG, **VARIANTS[name]), cached)
    before = {key: value.detach().clone() for key, value in run.model.trained().items()}
    (record,) = run.run(tmp_path)
    still = {key for key, value in run.model.trained().items() if torch.equal(value, before[key])}
    assert not [key for key in still if key.startswith("interface.")], "no part of it is idle"
    dice = [row["heat_dice"] for row in record.rows]
    assert np.mean(dice[-5:]) < 0.5 * np.mean(dice[:5])


def test_masks_are_learnt_too(cached: Cached, tmp_path: Path) -> None:
    """SAM here is untrained, so its rates are those of a beginning."""
    rates = {"training.masks.learning_rate": 1e-2, "training.masks.matrix_learning_rate": 2e-2, "training.masks.steps": 25}
    run = fresh(settings(**(LONG | rates | {"training.heat_maps.steps": 0, "model.slots": 1})), cached)
    (record,) = run.run(tmp_path)
    dice = [row["mask_dice"] for row in record.rows]
    assert np.mean(dice[-3:]) < 0.95 * np.mean(dice[:3])


def test_an_interface_that_cannot_see_the_thought_does_not_learn(cached: Cached, tmp_path: Path) -> None:
    """The null twin: neither codes of the thought nor reference states. One map for both halves has a Dice loss of at least a third."""
    run = fresh(settings(**LONG, **{"model.thought_codes": False, "model.reference_state": False}), cached)
    (record,) = run.run(tmp_path)
    assert np.mean([row["heat_dice"] for row in record.rows][-5:]) > 0.33


def test_answers_of_which_none_has_a_target_teach_confidence_alone(tmp_path: Path) -> None:
    cached = Cached(tmp_path / "cached", with_targets=False)
    run = fresh(settings(), cached)
    records = run.run(folder(tmp_path / "run"))
    assert {key for record in records for row in record.rows for key in row} == {"phase", "step", "total", "confidence"}
    with torch.no_grad():
        assert set(run.batch_losses([0, 1], masks=True)) == {"confidence"}


def test_every_answer_comes_once_before_any_comes_again_over_both_phases(cached: Cached, tmp_path: Path) -> None:
    run = fresh(settings(**{"training.heat_maps.batch": 3, "training.masks.batch": 4, "training.masks.steps": 6}), cached)
    taken: list[int] = []
    losses = run.batch_losses

    def watched(rows: list[int], masks: bool) -> dict[str, torch.Tensor]:
        taken.extend(rows)
        return losses(rows, masks)

    run.batch_losses = watched  # type: ignore[method-assign]
    run.run(tmp_path)
    assert len(taken) == 5 * 3 + 6 * 4
    for epoch in range(len(taken) // ANSWERS):
        assert sorted(taken[epoch * ANSWERS : (epoch + 1) * ANSWERS]) == list(range(ANSWERS))
    assert taken[:ANSWERS] != taken[ANSWERS : 2 * ANSWERS]


@pytest.mark.parametrize("phase", ["heat_maps", "masks"])
def test_a_killed_training_ends_with_the_same_bytes(phase: str, cached: Cached, tmp_path: Path) -> None:
    whole = fresh(settings(), cached)
    records = whole.run(folder(tmp_path / "whole"))
    killed = fresh(settings(), cached)
    losses, calls = killed.batch_losses, []

    def stop(rows: list[int], masks: bool) -> dict[str, torch.Tensor]:
        calls.append(masks)
        if calls.count(phase == "masks") == 4 and masks == (phase == "masks"):
            raise KeyboardInterrupt
        return losses(rows, masks)

    killed.batch_losses = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        killed.run(folder(tmp_path / "killed"))
    resumed = fresh(settings(), cached)
    again = resumed.run(tmp_path / "killed")
    assert [record.rows for record in again] == [record.rows for record in records]
    assert len(records) == 2 and [len(record.rows) for record in records] == [5, 5]
    assert all(torch.equal(value, resumed.model.state()[name]) for name, value in whole.model.state().items())


def test_seeds_take_the_answers_in_other_orders(cached: Cached) -> None:
    one, other = (InterfaceTraining(fresh(settings(), cached).model, cached.answers, cached.images, settings(), seed) for seed in (0, 1))
    orders = [[run.order.at(position) for position in range(ANSWERS)] for run in (one, other)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])
