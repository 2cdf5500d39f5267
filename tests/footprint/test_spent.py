"""What a study took is read from the benchmark files of its jobs."""

import os
from pathlib import Path

import pytest

from segcompass.cli import main

STUDY = Path("params/smoke.yaml").resolve()
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def leave(root: Path, stage: str, job: str, seconds: float, cpu: float, end: float) -> None:
    path = root / "logs" / "smoke" / stage / f"{job}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:00\t512.4\t1\t1\t1\t0\t0\t90\t{cpu}\n")
    os.utime(path, (end, end))


def test_stages_stand_in_the_order_of_the_pipeline_and_side_by_side_jobs_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path, "evaluate_joint", "full_seed0", 60.0, 30.0, 1_000_300.0)
    leave(tmp_path, "train_joint", "full_seed0", 120.0, 90.0, 1_000_240.0)
    leave(tmp_path, "train_joint", "dense_seed0", 180.0, 150.0, 1_000_300.0)
    leave(tmp_path, "write_summary", "write_summary", 30.0, 30.0, 1_009_000.0)  # resumed after a pause
    monkeypatch.chdir(tmp_path)
    assert main(["times", str(STUDY), "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "**smoke: 3.5 minutes in which a job ran**"
    assert lines[4:] == [
        "| train_joint | 2 | 3.0 | 5.0 | 4.0 | 512 |",
        "| evaluate_joint | 1 | 1.0 | 1.0 | 0.5 | 512 |",
        "| write_summary | 1 | 0.5 | 0.5 | 0.5 | 512 |",
        "| all | 4 | 3.0 | 6.5 | 5.0 | 512 |",
    ]


def test_a_study_that_was_not_run_and_a_broken_file_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["times", str(STUDY)]) == 2
    assert "run the study first" in capsys.readouterr().err
    leave(tmp_path, "evaluate_joint", "full_seed0", 60.0, 30.0, 1_000_300.0)
    next(tmp_path.rglob("*.tsv")).write_text("s\n")
    assert main(["times", str(STUDY)]) == 2
    assert "full_seed0.tsv" in capsys.readouterr().err


def test_processor_minutes_go_to_the_claims_that_need_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path, "prepare_data", "prepare_data", 60.0, 60.0, 1_000_000.0)
    leave(tmp_path, "train_interface", "no_cot_seed0", 60.0, 240.0, 1_000_000.0)  # in no claim of this study
    leave(tmp_path, "train_joint", "full_seed0", 60.0, 60.0, 1_000_000.0)
    leave(tmp_path, "evaluate_interface", "dense_seed0", 60.0, 120.0, 1_000_000.0)
    leave(tmp_path, "intervene", "reference_seed0", 60.0, 180.0, 1_000_000.0)
    leave(tmp_path, "train_interface", "reference_seed0", 60.0, 120.0, 1_000_000.0)  # four claims read it, that of `full` begins with it
    monkeypatch.chdir(tmp_path)
    assert main(["times", str(STUDY), "--claims", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "**smoke: 13.0 processor minutes by claim**"
    assert lines[4:] == [
        "| no claim: runs that only tables and figures show | 4.0 | 31 % |",
        "| necessary | 3.5 | 27 % |",
        "| sparse_beats_dense | 2.5 | 19 % |",
        "| masks_close_gap | 1.5 | 12 % |",
        "| shared by all: data, backbone, caches, dictionaries, report | 1.0 | 8 % |",
        "| heat_map_goes_with_mask | 0.5 | 4 % |",
        "| concepts_name_colour | 0.0 | 0 % |",
    ]
