"""A warm start changes the keys of what reads the policy, and of nothing else; without one no job has a key of it."""

from pathlib import Path

import pytest
import yaml

from segcompass.study.jobs import Job, all_jobs, stage_params
from segcompass.study.load import load_study
from segcompass.study.policy import POLICY_READERS, policy_stage
from segcompass.study.study import Study
from tests.warm_start.prompts import SETTINGS

PARAMS = Path("params")
STUDIES = sorted(PARAMS.glob("*.yaml"))


def keys(study: Study) -> dict[Job, dict[str, object]]:
    return {job: stage_params(study, job) for job in all_jobs(study)}


@pytest.mark.parametrize("path", [path for path in STUDIES if not path.stem.startswith("paper_")], ids=lambda path: path.stem)
def test_a_study_without_it_has_the_keys_of_a_file_that_does_not_know_it(path: Path, tmp_path: Path) -> None:
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert raw.pop("warm_start") is None
    older = tmp_path / path.name
    older.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    study = load_study(path)
    assert keys(study) == keys(load_study(older)) and policy_stage(study) == "train_backbone"
    for job, found in keys(study).items():
        assert job.stage != "warm_start" and not {"warm_start", "policy"} & set(found)


@pytest.mark.parametrize("on_the_fly", [False, True])
def test_with_it_what_reads_the_policy_has_one_key_more(on_the_fly: bool) -> None:
    plain = load_study(PARAMS / "smoke.yaml")
    plain = plain.model_copy(update={"activations": plain.activations.model_copy(update={"on_the_fly": on_the_fly})})
    started = plain.model_copy(update={"warm_start": SETTINGS})
    before, after = keys(plain), keys(started)
    assert policy_stage(started) == "warm_start"
    assert [job.stage for job in after][:3] == ["prepare_data", "train_backbone", "warm_start"]
    added = after.pop(Job("warm_start"))
    assert set(added) == {"warm_start", "benchmarks", "hook_layer", "runtime", "threads", "answer"}
    assert before.keys() == after.keys()
    for job, found in after.items():
        reads = job.stage in POLICY_READERS and (job.stage != "train_sae" or on_the_fly)
        if job.stage != "write_summary":
            assert found == before[job] | ({"policy": "warm_start"} if reads else {}), job


def test_every_paper_study_has_one() -> None:
    for path in STUDIES:
        assert (load_study(path).warm_start is not None) == path.stem.startswith("paper_"), path
