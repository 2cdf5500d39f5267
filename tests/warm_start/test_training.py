"""A warm start teaches both families the form, from random weights, on prompts that it has not seen; a killed one ends the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import debug_launcher
from safetensors.torch import load_file, save_file

from segcompass.backbone.build import save_vlm
from segcompass.backbone.prompt import status_of
from segcompass.datasets.masks import empty
from segcompass.datasets.samples import Sample
from segcompass.errors import InputError
from segcompass.joint.rollouts import supervised_loss
from segcompass.optimisation.division import divide
from segcompass.optimisation.processes import Processes
from segcompass.study.warm_start import WarmStartSettings
from segcompass.warm_start.training import WarmStart, WarmStartRecord, refuse_unlearnt, shares, stored_weights
from tests.arithmetic import same_values
from tests.joint.conftest import in_double as in_double
from tests.joint.shared_run import divide_weights, one_of_two
from tests.tiny import micro_study, pictures, tiny_vlm
from tests.warm_start.prompts import ANSWER, BENCHMARKS, HOOK, SETTINGS, MadePrompts, load, save_checkpoint

FEW = SETTINGS.model_copy(update={"steps": 4, "prompts": 4, "samples": 4, "checkpoint_every": 2})


def warm_start(folder: Path, settings: WarmStartSettings = SETTINGS, processes: Processes | None = None) -> WarmStart:
    return WarmStart(load(folder), MadePrompts(), BENCHMARKS, settings, ANSWER, processes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("family", "tied", "padded"), [("llava", False, True), ("qwen", True, False)])
def test_the_form_is_learnt_from_random_weights(family: str, tied: bool, padded: bool, tmp_path: Path) -> None:
    """By greedy answers to held-out prompts of every benchmark; and the folder that is written holds what was judged."""
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "raw", family, tied, padded)
    run = warm_start(tmp_path / "raw")
    frozen = {name: value.clone() for name, value in run.vlm.named_parameters() if not value.requires_grad}
    assert any("embed_tokens" in name for name in frozen) and any(f"layers.{HOOK - 1}." in name for name in frozen)
    (tmp_path / "resume").mkdir()
    record = run.run(tmp_path / "resume")
    assert set(record.before.values()) == {0.0}
    assert set(record.after) == {"all", *BENCHMARKS} and min(record.after.values()) >= 0.9
    assert sum(record.statuses.values()) == 32 and record.statuses["ok"] == round(32 * record.after["all"])
    assert record.curve[-1]["cross_entropy"] < 0.2 * record.curve[0]["cross_entropy"] and len(record.curve) == SETTINGS.steps
    now = dict(run.vlm.named_parameters())
    assert all(torch.equal(value, now[name]) for name, value in frozen.items())
    save_vlm(tmp_path / "warm", run.vlm.model, run.vlm.processor, stored_weights(run.vlm, run.processes))
    again = WarmStart(load(tmp_path / "warm"), MadePrompts(), BENCHMARKS, SETTINGS, ANSWER)  # type: ignore[arg-type]
    assert shares(again.judged()) == record.after
    assert all(torch.equal(value, now[name]) for name, value in again.vlm.named_parameters())
    assert again.vlm.special == run.vlm.special and len(again.vlm.processor.tokenizer) == len(run.vlm.processor.tokenizer)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    save_checkpoint(folder, "llava")
    return folder


@torch.no_grad()
def test_the_loss_is_the_mean_over_the_answers_tokens(llava: Path) -> None:
    """Of two answers together it is that of each, weighted by its tokens; no token of a prompt counts."""
    vlm = load(llava)
    images, texts = pictures(2), ["red ring", "the dog"]
    answers = [vlm.answer_ids("ring"), vlm.answer_ids("the large blue disc")]
    asked = zip(images, texts, answers, strict=True)
    alone = [float(supervised_loss(vlm, vlm.prompts([image], [text]), [ids])) for image, text, ids in asked]
    tokens = [len(ids) for ids in answers]
    assert 3 + ANSWER.slots < tokens[0] < tokens[1], "tags, end and reference tokens count"
    expected = (alone[0] * tokens[0] + alone[1] * tokens[1]) / sum(tokens)
    assert float(supervised_loss(vlm, vlm.prompts(images, texts), answers)) == pytest.approx(expected, rel=1e-4)


def test_what_is_taught_keeps_the_form_and_is_as_long_as_an_answer_may_be(llava: Path) -> None:
    run = warm_start(llava, FEW)
    one = empty(4, 4)
    texts = ("red ring", "the dog " * 40, "</think> <REF_POS> </s>")
    samples = [Sample("s", "i.png", 4, 4, text, False, one, None, (one,)) for text in texts]
    found = [run.taught(sample, np.random.default_rng(0)) for sample in samples]
    assert [status_of(ids, run.vlm.special) for ids in found] == ["ok"] * 3
    assert len(found[0]) < ANSWER.longest == len(found[1])
    run.gold = {"s": "gold " * 40}
    gold = run.taught(samples[0], np.random.default_rng(0))
    assert run.vlm.text(torch.tensor(gold)).startswith("<think>gold gold") and len(gold) == ANSWER.longest
    assert status_of(gold, run.vlm.special) == "ok"


def test_a_killed_run_ends_with_the_same_bytes(llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in its fourth step it goes on behind the second; the answers from before it are not asked for again."""
    ends: dict[str, tuple[WarmStartRecord, dict[str, torch.Tensor]]] = {}
    asked: list[int] = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        run = warm_start(llava, FEW)
        if name == "killed":
            step = run._step
            monkeypatch.setattr(run, "_step", lambda number, *given, step=step: step(number, *given) if number < 3 else killed())
            with pytest.raises(KeyboardInterrupt):
                run.run(tmp_path / name)
            run, before = warm_start(llava, FEW), WarmStart.judged
            monkeypatch.setattr(WarmStart, "judged", lambda self, before=before: asked.append(1) or before(self))
        ends[name] = (run.run(tmp_path / name), dict(run.vlm.named_parameters()))
    (whole, weights), (resumed, again) = ends["whole"], ends["killed"]
    assert len(asked) == 1, "after the last step alone"
    assert (whole.curve, whole.before, whole.after, whole.statuses) == (resumed.curve, resumed.before, resumed.after, resumed.statuses)
    assert [row["step"] for row in whole.curve] == [0, 1, 2, 3]
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def killed() -> None:
    raise KeyboardInterrupt


def test_trained_weights_end_as_the_study_s_dtype_holds_them(llava: Path, tmp_path: Path) -> None:
    run = warm_start(llava, FEW)
    run.vlm.to(torch.bfloat16)
    run.vlm.freeze_up_to(HOOK)
    assert run.vlm.dtype == torch.bfloat16 and run.vlm.model.lm_head.weight.dtype == torch.float32
    run.run(tmp_path)
    assert all(torch.equal(value.bfloat16().to(value.dtype), value) for value in run.vlm.parameters())


def test_shares_are_by_benchmark_and_of_all_and_a_low_one_is_one_sentence() -> None:
    found = shares({"refcoco": ["ok"] * 9 + ["no end"], "grefcoco": ["ok", "open thought"]})
    assert found == {"all": 10 / 12, "refcoco": 0.9, "grefcoco": 0.5}
    refuse_unlearnt(found, 0.5)
    with pytest.raises(InputError) as caught:
        refuse_unlearnt(found, 0.9)
    sentence = (
        "warm_start.least_valid: is 0.9, but after the warm start fewer answers keep the form, 50% on grefcoco; "
        "raise warm_start.steps or warm_start.learning_rate."
    )
    assert str(caught.value) == sentence


def test_prompts_that_the_processes_cannot_share_are_one_sentence(llava: Path) -> None:
    three = Processes()
    three.count = 3
    with pytest.raises(InputError, match=r"warm_start\.prompts: is 4, which 3 processes cannot share evenly; take a multiple"):
        warm_start(llava, FEW, three)


def train(folder: Path, processes: Processes) -> None:
    """Leaves curve, shares and the folder of the policy behind, by the first process alone."""
    torch.set_num_threads(1)
    vlm = tiny_vlm().double()
    vlm.freeze_up_to(HOOK)
    if processes.divided:
        divide(vlm.units(), processes)
        vlm.anywhere = processes.anywhere
    record = WarmStart(vlm, MadePrompts(), BENCHMARKS, FEW, micro_study().answer, processes).run(folder)  # type: ignore[arg-type]
    weights = stored_weights(vlm, processes)
    if processes.main:
        curve = torch.tensor([[row["cross_entropy"], row["norm"]] for row in record.curve], dtype=torch.float64)
        kept = torch.tensor([[record.before[name], record.after[name]] for name in record.after])
        save_file({"curve": curve, "kept": kept}, folder / "end.safetensors")
        save_vlm(folder, vlm.model, vlm.processor, weights)


def train_in_one_of_two(folder: Path) -> None:
    train(folder, one_of_two())


@pytest.mark.numerical
@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("divided", [False, True], ids=["whole weights", "divided weights"])
def test_two_processes_train_as_one_with_all_prompts(divided: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    train(one, Processes())
    if divided:
        divide_weights(monkeypatch)
    debug_launcher(train_in_one_of_two, (two,), num_processes=2)
    expected, found = (load_file(folder / "end.safetensors") | load_file(folder / "model.safetensors") for folder in (one, two))
    assert set(expected) == set(found) and len(expected["curve"]) == FEW.steps and len(expected) > 50
    for name, value in expected.items():
        assert same_values(found[name], value), name
