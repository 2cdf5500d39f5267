"""The keys that a stage reads, found by changing them: those of its jobs and no other, and DVC's file says the same."""

from pathlib import Path

import pytest

from segcompass.study.dvc_keys import dvc_keys, main, stage_keys, with_current_keys
from segcompass.study.load import load_study


@pytest.fixture(scope="module")
def found() -> dict[str, set[tuple[str, ...]]]:
    """Of a study with a warm start and without one."""
    smoke = load_study(Path("params/smoke.yaml"))
    started = load_study(Path("params/paper_qwen7b.yaml")).warm_start
    return stage_keys([smoke, smoke.model_copy(update={"warm_start": started})])


def test_a_key_from_another_section_is_found(found: dict) -> None:
    assert ("evaluation", "confidence_threshold") in found["train_joint"] and ("evaluation", "batch") not in found["train_joint"]
    assert ("analysis", "bootstrap", "level") in found["make_figures"] and ("analysis", "intervention", "seed") in found["intervene"]
    assert {key[1] for key in found["embed_images"] if key[0] == "answers"} == {"benchmarks", "prompts", "seed"}
    assert ("experiments", "interface", "variants") in found["embed_images"] and ("answers", "batch") in found["cache_answers"]


def test_what_only_a_switch_makes_a_stage_read_is_found(found: dict) -> None:
    study = load_study(Path("params/smoke.yaml"))
    assert not study.activations.on_the_fly and ("activations", "batch") in found["train_sae"]
    assert ("answer", "slots") in found["train_sae"] and ("answer", "slots") not in found["correlate"]


def test_a_section_that_is_read_as_a_whole_stands_under_its_name() -> None:
    keys = {("analysis", "bootstrap", name) for name in ("samples", "level", "seed")} | {("evaluation", "batch"), ("saes",)}
    assert dvc_keys(keys) == ["saes", "evaluation.batch", "analysis.bootstrap"]


def test_the_file_is_rewritten_stage_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict) -> None:
    """A key that is missing from one stage comes back there, and nothing else changes."""
    text = Path("dvc.yaml").read_text(encoding="utf-8")
    stale = text.replace(", evaluation.confidence_threshold]", "]")
    assert stale != text and with_current_keys(stale, found) == text
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "smoke.yaml").write_text("study: smoke\nthreads: one\n")
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2, "a faulty study is one sentence, and the file is left alone"
