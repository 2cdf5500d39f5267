"""What Snakemake plans after an edit: exactly the jobs that the edit reaches, shown on artefacts that agree with the study."""

from pathlib import Path

import pytest

from segcompass.study.jobs import ARTEFACTS
from tests.workflow.project import ROOT, command, copy_project, edit, planned, pretend_built

REPORT = {"correlate", "make_tables", "make_figures", "write_summary"}
DRAWN = REPORT - {"correlate"}
RUNS = {"full_0", "full_1", "seg_only_0", "dense_0", "sae_only_0", "untrained_0"}
JOINT = {f"{rule}:{run}" for rule in ("train_joint", "evaluate") for run in RUNS} | {"intervene:full_0", "intervene:full_1"}
SWEPT = {f"train_sae:topk_layer{layer}_width256_k{k}" for layer in (1, 2) for k in (4, 32)}
OWN_SAES = {f"train_sae:{name}" for name in ("relu_l1", "topk", "random", "dense")}
SAES = OWN_SAES | SWEPT
CACHES = {"cache_activations:1", "cache_activations:2"}
SCORES = {f"score_concepts:{name}" for name in ("relu_l1", "topk", "dense")}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    root = copy_project(tmp_path / "project", ROOT / "params" / "smoke.yaml")
    pretend_built(root)
    command(root, "snakemake", "--cores", "1", "--touch", "--forceall", "reproduce_all")
    return root


def test_a_built_study_has_nothing_to_do_and_an_unbuilt_one_has_everything(built: Path, tmp_path: Path) -> None:
    assert planned(built) == set()
    fresh = copy_project(tmp_path / "fresh", ROOT / "params" / "smoke.yaml")
    everything = {"prepare_data", "train_backbone", "label_tokens", "cache_answers"} | CACHES | SAES | SCORES | JOINT | REPORT
    assert planned(fresh) == everything
    assert {job.partition(":")[0] for job in everything} == set(ARTEFACTS)


@pytest.mark.parametrize(
    ("old", "new", "jobs"),
    [
        ("qualitative_samples: 4", "qualitative_samples: 3", {"make_figures", "write_summary"}),
        ("permutations: 999", "permutations: 998", {"correlate", "make_figures", "write_summary"}),
        ("    samples: 24", "    samples: 20", {"intervene:full_0", "intervene:full_1", "make_figures", "write_summary"}),
        ("coverage_fraction: 0.1", "coverage_fraction: 0.2", {job for job in JOINT if job.startswith("evaluate")} | REPORT),
        ("oracle_thoughts: [full]", "oracle_thoughts: [full, dense]", {"evaluate:dense_0", *DRAWN}),
        ("comment", "comment", set()),
        ("k: 16, ", "k: 8, ", {"train_sae:topk", "train_sae:random"} | SCORES | JOINT - {"train_joint:dense_0"} | REPORT),
        (
            "activations:\n  hook_layer: 2",
            "activations:\n  hook_layer: 1",
            OWN_SAES | {"label_tokens", "cache_answers"} | SCORES | JOINT | REPORT,
        ),
        ("l1_coefficient: 0.1", "l1_coefficient: 0.2", {"train_sae:relu_l1", "score_concepts:relu_l1", *DRAWN}),
        ("sweep:\n  steps: 60", "sweep:\n  steps: 50", SWEPT | {"make_figures", "write_summary"}),
        ("coverage_fractions: [0.02, ", "coverage_fractions: [0.03, ", SCORES | DRAWN),
        ("expressions: 3", "expressions: 2", {"label_tokens"} | SCORES | DRAWN),
        ("warm_up: {prompts: 48", "warm_up: {prompts: 40", {"cache_answers"} | JOINT | REPORT),
        ("steps: 12, batch: 8", "steps: 10, batch: 8", JOINT | REPORT),
    ],
)
def test_an_edited_key_reruns_what_reads_it_and_what_follows(built: Path, old: str, new: str, jobs: set[str]) -> None:
    if old.strip() == new.strip():
        edit(built, "params/default.yaml", "# The smallest", "# Another comment; the smallest")
    else:
        edit(built, "params/default.yaml", old, new)
    assert planned(built) == jobs
    if jobs:
        edit(built, "params/default.yaml", new, old)
        assert planned(built) == set(), "an edit that is taken back reruns nothing"


def test_swapped_values_of_two_keys_are_seen(built: Path) -> None:
    edit(built, "params/default.yaml", "heat_bce: 1.0, heat_dice: 1.0", "heat_bce: 2.0, heat_dice: 1.0")
    pretend_built(built)
    command(built, "snakemake", "--cores", "1", "--touch", "--forceall", "reproduce_all")
    edit(built, "params/default.yaml", "heat_bce: 2.0, heat_dice: 1.0", "heat_bce: 1.0, heat_dice: 2.0")
    assert planned(built) == JOINT | REPORT


def test_an_added_seed_and_an_added_variant_train_only_that(built: Path) -> None:
    edit(built, "params/default.yaml", "seg_only: {seeds: [0]", "seg_only: {seeds: [0, 5]")
    edit(built, "params/default.yaml", "\nevaluation:", "  tau: {seeds: [0], changes: {interface.threshold: 0.5}}\n\nevaluation:")
    new = {f"{rule}:{run}" for rule in ("train_joint", "evaluate") for run in ("seg_only_5", "tau_0")}
    assert planned(built) == new | {"make_tables", "make_figures", "write_summary"}


def test_a_removed_seed_rewrites_the_report_only(built: Path) -> None:
    edit(built, "params/default.yaml", "full: {seeds: [0, 1]", "full: {seeds: [0]")
    assert planned(built) == REPORT


def test_what_was_frozen_of_a_dropped_variant_goes_and_the_rest_stays(built: Path) -> None:
    frozen = built / "results/default/frozen"
    before = {path.name for path in frozen.iterdir()}
    edit(built, "params/default.yaml", "  dense: {seeds: [0], changes: {interface.sae: dense}}\n", "")
    planned(built)
    assert before - {path.name for path in frozen.iterdir()} == {"train_joint.dense_0.json", "evaluate.dense_0.json"}


def test_a_changed_line_reruns_the_stages_that_import_it_and_a_comment_none(built: Path) -> None:
    with (built / "segcompass/stages/train_sae.py").open("a") as module:
        module.write("\n# A comment.\n")
    assert planned(built) == set()
    with (built / "segcompass/stages/train_sae.py").open("a") as module:
        module.write("\nADDED = 1\n")
    assert planned(built) == SAES | SCORES | JOINT | REPORT
    with (built / "segcompass/provenance/code_digest.py").open("a") as module:
        module.write("\nADDED = 1\n")
    assert planned(built) == SAES | SCORES | JOINT | REPORT, "no stage runs the digest's own code"


def test_artefacts_of_other_params_are_stale_even_when_they_are_newer_than_everything(built: Path) -> None:
    edit(built, "params/default.yaml", "activations:\n  hook_layer: 2", "activations:\n  hook_layer: 1")
    command(built, "snakemake", "--cores", "1", "--touch", "--forceall", "reproduce_all")
    assert "train_sae:topk" in planned(built)
    command(built, "rm", "-r", ".snakemake")
    assert "train_sae:topk" in planned(built), "and without Snakemake's own metadata"


def test_a_faulty_study_ends_with_code_2_and_one_sentence_before_any_job(built: Path) -> None:
    edit(built, "params/default.yaml", "activations:\n  hook_layer: 2", "activations:\n  hook_layr: 2")
    done = command(built, "snakemake", "--cores", "1", "--use-conda", "reproduce_all", check=False)
    assert done.returncode == 2
    assert "params/default.yaml: activations.hook_layr: unknown key; did you mean `hook_layer`." in done.stderr
    assert "Traceback" not in done.stderr
