"""A study file is complete, typed and free of contradictions, or one sentence says what to change."""

import re
from pathlib import Path

import pytest
import yaml

from segcompass.errors import InputError
from segcompass.study.jobs import all_jobs, control_of, described_saes, sae_like, scored_saes, stage_params
from segcompass.study.load import load_study
from segcompass.study.study import changed

PARAMS = Path("params")
STUDIES = sorted(PARAMS.glob("*.yaml"))
LINE = {"like": "topk", "hook_layer": 1, "width": 64, "sparsity": [4]}


def edited(tmp_path: Path, changes: dict, removed: tuple[str, ...] = ()) -> Path:
    raw = changed(yaml.safe_load((PARAMS / "smoke.yaml").read_text()), changes)
    for key in removed:
        del raw[key]
    path = tmp_path / "smoke.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_committed_studies_are_valid(path: Path) -> None:
    assert load_study(path).study == path.stem


def test_unknown_key_names_the_nearest_valid_one(tmp_path: Path) -> None:
    path = tmp_path / "smoke.yaml"
    path.write_text((PARAMS / "smoke.yaml").read_text().replace("batch_tokens:", "batch_token:"))
    with pytest.raises(InputError, match=re.escape(f"{path}: sae_training.batch_token: unknown key; did you mean `batch_tokens`.")):
        load_study(path)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"joint.steps": "many"}, "joint.steps", "integer"),
        ({"joint.steps": -1}, "joint.steps", "greater than or equal to 0"),
        ({"joint.steps": 0}, "joint.steps", "trains nothing"),
        ({"joint.policy.reward": {"format": 0.5, "mask": 0.7}}, "joint.policy.reward", "add to 1"),
        ({"joint.interface.sae": "missing"}, "variants.full", "not in `saes`"),
        ({"evaluation.splits": {"refcoco": ["testC"]}}, "evaluation.splits.refcoco", "choose from val, testA, testB"),
        ({"activations.hook_layer": 9}, "activations.hook_layer", "deeper"),
        ({"evaluation.control_sae": "topk"}, "evaluation.control_sae", "random"),
        ({"study": "other"}, "study", "make them equal"),
        ({"variants": {"full": {"seeds": [0], "changes": {"steps": 3}}}}, "variants.full.changes", "changes nothing"),
        ({"variants": {"full": {"seeds": [0], "changes": {}}, "a": {"seeds": [0], "changes": {"policy.wait": 1}}}}, "variants.a", "no key"),
        *(
            ({"variants": {"full": {"seeds": [0], "changes": {}}, "a": {"seeds": [0], "changes": changes}}}, "variants.a", "cached answers")
            for changes in ({"benchmarks": ["refcoco"]}, {"warm_up.prompts": 7}, {"warm_up.answer_batch": 3}, {"warm_up.seed": 9})
        ),
        ({"evaluation.oracle_thoughts": ["fool"]}, "evaluation.oracle_thoughts", "not in `variants`"),
        ({"data.seed": True}, "data.seed", "integer"),
        ({"saes.topk.k": -1}, "saes.topk.k", "greater than 0"),
        ({"saes.topk.decoder": "loose"}, "saes.topk.decoder", "'trained' or 'frozen'"),
        ({"saes.topk.decoder": {"soft_frozen": 1.0}}, "saes.topk.decoder", "less than 1"),
        ({"saes.random.like": "dense"}, "saes.random.like", "not a trained, sparse dictionary"),
        ({"saes.pca.width": 65}, "saes.pca.width", "64 dimensions"),
        ({"saes.neurons.like": "random"}, "saes.neurons.like", "not a trained, sparse dictionary"),
        ({"sweep.lines": [LINE | {"like": "dense"}]}, "sweep.lines.0.like", "architecture relu_l1, topk"),
        ({"sweep.lines": [LINE, LINE | {"sparsity": [64]}]}, "sweep.lines.1.sparsity", "smaller than width"),
        ({"sweep.lines": [LINE | {"sparsity": [2.5]}]}, "sweep.lines.0.sparsity", "whole number"),
        ({"sweep.lines": [LINE | {"hook_layer": 9}]}, "sweep.lines.0.hook_layer", "deeper"),
        ({"concepts.scores.coverage_fractions": [0.5, 1.5]}, "concepts.scores.coverage_fractions.1", "less than or equal to 1"),
    ],
)
def test_faults_name_file_key_and_remedy(tmp_path: Path, changes: dict, field: str, words: str) -> None:
    path = edited(tmp_path, changes)
    with pytest.raises(InputError) as fault:
        load_study(path)
    sentence = str(fault.value)
    assert sentence.startswith(f"{path}: {field}")
    assert words in sentence
    assert "\n" not in sentence


def test_missing_section_and_doubled_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data: missing"):
        load_study(edited(tmp_path, {}, removed=("data",)))
    path = tmp_path / "smoke.yaml"
    path.write_text((PARAMS / "smoke.yaml").read_text() + "\nthreads: 2\n")
    with pytest.raises(InputError, match="`threads` is written twice"):
        load_study(path)


def test_a_variant_differs_in_its_declared_keys_only() -> None:
    study = load_study(PARAMS / "smoke.yaml")
    full, cut = study.variant("full").model_dump(), study.variant("sae_only").model_dump()
    assert cut["interface"].pop("reference_state") is False
    assert full["interface"].pop("reference_state") is True
    assert full == cut


def test_an_added_seed_leaves_the_other_jobs_params_alone(tmp_path: Path) -> None:
    before = load_study(PARAMS / "smoke.yaml")
    after = load_study(edited(tmp_path, {"variants.seg_only.seeds": [0, 7]}))
    old = {job: stage_params(before, job) for job in all_jobs(before)}
    new = {job: stage_params(after, job) for job in all_jobs(after)}
    added = {dict(job.wildcards)["seed"] for job in new.keys() - old.keys()}
    changed_stages = {job.stage for job in old if new[job] != old[job]}
    assert added == {"7"}
    assert changed_stages <= {"make_tables", "make_figures", "write_summary"}


def test_a_sweep_keeps_the_keys_of_the_dictionary_it_is_like_and_caches_each_layer_once(tmp_path: Path) -> None:
    lines = [LINE | {"hook_layer": 2}, LINE | {"like": "relu_l1", "sparsity": [0.05, 1]}, LINE | {"sparsity": [8]}]
    study = load_study(edited(tmp_path, {"sweep.lines": lines}))
    swept = study.swept()
    names = ["topk_layer2_width64_k4", "relu_l1_layer1_width64_l1_coefficient0p05"]
    assert list(swept) == [*names, "relu_l1_layer1_width64_l1_coefficient1", "topk_layer1_width64_k8"]
    base, small = study.saes["topk"], swept[names[0]].dictionary
    assert small == base.model_copy(update={"width": 64, "k": 4}) and swept[names[1]].dictionary.l1_coefficient == 0.05
    jobs = all_jobs(study)
    assert [dict(job.wildcards)["layer"] for job in jobs if job.stage == "cache_activations"] == ["1", "2"]
    params = {job.wildcards[0][1]: stage_params(study, job) for job in jobs if job.stage == "train_sae"}
    assert params[names[0]]["dictionary"]["k"] == 4 and params[names[0]]["training"]["steps"] == study.sweep.steps
    assert params["topk"]["training"]["steps"] == study.sae_training.steps
    about = described_saes(study)
    assert about[names[0]]["line"] == "topk, layer 2, 64 wide" and about["topk"]["line"] is None
    assert about["random"]["width"] == base.width


def test_a_dictionary_is_scored_beside_the_random_one_that_is_like_it(tmp_path: Path) -> None:
    study = load_study(edited(tmp_path, {"saes.relu_l1.l1_coefficient": 0.2}))
    held = [f"{start}frozen_decoder{end}" for end in ("", "_topk") for start in ("", "soft_")]
    assert scored_saes(study) == ["relu_l1", "topk", "dense", *held, "pca", "neurons"]
    controls = {name: control_of(study, name) for name in ("topk", "relu_l1", "neurons", "pca")}
    # Hidden units copy relu_l1's sparsity as its random twin does, but they are no control of its scores.
    assert controls == {"topk": "random", "relu_l1": "random_relu_l1", "neurons": "random", "pca": "random"}
    assert [sae_like(study, name) for name in ("random", "neurons", "pca")] == ["topk", "relu_l1", None]
    about = described_saes(study)
    assert about["random_relu_l1"]["width"] == 256 and about["neurons"]["width"] is None
