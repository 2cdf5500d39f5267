"""Profiles and launch configurations for machines with GPUs: complete, in step with the rules, and read by the tools that they are for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from segcompass.footprint.runs import stage_works
from segcompass.footprint.sizes import backbone_sizes
from segcompass.footprint.work import A100, UTILISATION
from segcompass.stages import make_tables
from segcompass.study.jobs import ARTEFACTS
from segcompass.study.load import load_study
from segcompass.study.shard_jobs import RULE
from segcompass.study.shards import SHARDED
from tests.workflow.project import ROOT, command

PROFILES = ROOT / "workflow" / "profiles"
ACCELERATE = ROOT / "workflow" / "accelerate"
MODEL_STAGES = {
    "warm_start",
    "cache_activations",
    "train_sae",
    "label_tokens",
    "cache_answers",
    "embed_images",
    "train_interface",
    "evaluate_interface",
    "train_joint",
    "evaluate_joint",
    "intervene",
    "exchange",
    "make_atlas",
}


def profile(name: str) -> dict:
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["workstation_gpu", "slurm", "kubernetes"])
def test_a_gpu_profile_decides_staleness_as_the_default_one_and_sizes_every_rule(name: str) -> None:
    found = profile(name)
    assert profile("default").items() <= found.items()
    shards = {f"{stage}{RULE}" for stage in SHARDED}
    assert set(found["set-resources"]) == set(ARTEFACTS) | shards
    assert {rule for rule, needs in found["set-resources"].items() if needs.get("gpu")} == MODEL_STAGES | shards
    assert all("mem_mb" in needs for needs in found["set-resources"].values())
    assert all("runtime" in needs for needs in found["set-resources"].values()) or name == "workstation_gpu"


def test_both_clusters_give_a_rule_the_same() -> None:
    slurm, kubernetes = profile("slurm"), profile("kubernetes")
    assert all(slurm[key] == kubernetes[key] for key in ("set-resources", "default-resources", "jobs", "latency-wait"))


@pytest.mark.parametrize("study", ["paper_llava7b", "paper_llava13b", "paper_qwen7b"])
def test_slurm_gives_each_job_the_time_that_it_is_estimated_to_need_on_one_gpu(study: str) -> None:
    loaded = load_study(ROOT / "params" / f"{study}.yaml")
    counted = stage_works(loaded, backbone_sizes(loaded, ROOT), ROOT, 1)
    assert set(counted) == MODEL_STAGES
    for stage, works in counted.items():
        divided = stage in SHARDED and getattr(loaded.shards, stage) > 1
        minutes = profile("slurm")["set-resources"][f"{stage}{RULE}" if divided else stage]["runtime"]
        assert 60 * max(work.hours(A100, UTILISATION) for work in works) < minutes, stage


@pytest.mark.parametrize("name", ["workstation_gpu", "slurm", "kubernetes"])
def test_snakemake_plans_under_a_gpu_profile(name: str) -> None:
    text = command(ROOT, "snakemake", "--workflow-profile", str(PROFILES / name), "--cores", "1", "-n", "--forceall", "smoke").stdout
    needs = profile(name)["set-resources"]["train_joint"]
    assert f"mem_mb={needs['mem_mb']}" in text and "gpu=1" in text


@pytest.mark.parametrize("family", ["llava", "qwen"])
def test_accelerate_reads_the_fsdp_files_and_they_say_nothing_that_is_not_read(family: str) -> None:
    config = load_config_from_file(str(ACCELERATE / f"fsdp_8gpu_{family}.yaml"))
    assert config.num_processes == 8 and config.distributed_type.value == "FSDP" and config.mixed_precision == "no"
    assert config.fsdp_config == {"fsdp_version": 2, "fsdp_offload_params": False}


@pytest.mark.parametrize("family", ["llava", "qwen"])
def test_a_launch_file_starts_its_stages_through_accelerate_and_no_other(family: str) -> None:
    file = f"workflow/accelerate/launch_{family}.yaml"
    text = command(ROOT, "snakemake", "--configfile", file, "--cores", "1", "-n", "-p", "--forceall", "smoke").stdout
    starts = {line.split("segcompass.stages.")[1].split()[0]: line for line in text.splitlines() if "-m segcompass.stages." in line}
    start = f"accelerate launch --config_file workflow/accelerate/fsdp_8gpu_{family}.yaml"
    assert f"{start} -m segcompass.stages.train_joint" in starts.pop("train_joint")
    assert yaml.safe_load((ROOT / file).read_text())["launch"] == {"warm_start": start, "train_joint": start}, "smoke has no warm start"
    assert (ROOT / f"workflow/accelerate/fsdp_8gpu_{family}.yaml").is_file()
    assert all("accelerate" not in line for line in starts.values())


def test_a_stage_of_one_process_refuses_to_run_in_several(tmp_path: Path) -> None:
    flags = [word for flag in make_tables.FLAGS for word in (f"--{flag}", "a")]
    words = [sys.executable, "-m", "segcompass.stages.make_tables", "--params", "none.json", *flags, "--out", "c"]
    done = subprocess.run(
        words, cwd=tmp_path, env=os.environ | {"WORLD_SIZE": "2", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2 and "WORLD_SIZE: is above 1" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "c").exists()
