"""A study file is complete, typed and free of contradictions, or one sentence says what to change."""

import re
from pathlib import Path

import pytest
import yaml

from segcompass.errors import InputError
from segcompass.study.experiments import changed
from segcompass.study.jobs import (
    TRAIN,
    all_jobs,
    answered_layers,
    control_of,
    described_saes,
    embedded_parts,
    run_job,
    sae_like,
    scored_saes,
    stage_params,
    start_job,
    used_segmenters,
)
from segcompass.study.load import load_study
from segcompass.study.shard_jobs import number_of_shards, shards_of
from segcompass.study.shards import Shard, own_shard
from segcompass.study.study import Study

PARAMS = Path("params")
STUDIES = sorted(PARAMS.glob("*.yaml"))
REWARD = {"format": 0.5, "mask": 0.7, "gated": False, "mask_power": 1.0}
ROOT_DATA = {"source": "root", "root": "r", "partitions": dict.fromkeys(("refcoco", "refcoco+", "refcocog", "grefcoco", "reasonseg"))}
INTERFACE, SIGNALS = "experiments.interface.variants", "experiments.signals.variants"
UNSWEPT = {f"{INTERFACE}.layer_1.changes": {}}
"""The one variant that reads a swept dictionary reads none."""
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


def variant(experiment: str, changes: dict, seeds: list[int] | None = None) -> dict:
    """The change of a study that adds a variant `a` to an experiment."""
    there = yaml.safe_load((PARAMS / "smoke.yaml").read_text())["experiments"][experiment]["variants"]
    return {f"experiments.{experiment}.variants": there | {"a": {"seeds": [0] if seeds is None else seeds, "changes": changes}}}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"joint.steps": "many"}, "joint.steps", "integer"),
        ({"joint.steps": 0}, "joint.steps", "greater than 0"),
        ({"interface.training.masks.steps": -1}, "interface.training.masks.steps", "greater than or equal to 0"),
        ({"joint.policy.reward": REWARD}, "joint.policy.reward", "add to 1"),
        (
            {"interface.model.readout": "references", "interface.model.reference_state": False},
            "interface.model",
            "keep reference_state true",
        ),
        ({"evaluation.splits": {"refcoco": ["testC"]}}, "evaluation.splits.refcoco", "choose from val, testA, testB"),
        ({"activations.hook_layer": 9}, "activations.hook_layer", "deeper"),
        ({"evaluation.control_sae": "topk"}, "evaluation.control_sae", "random"),
        ({"study": "other"}, "study", "make them equal"),
        ({"answers.benchmarks": ["reasonseg"]}, "answers.benchmarks", "train on refcoco"),
        ({"answers.thoughts": "gold", "data": ROOT_DATA}, "answers.thoughts", "take `policy`"),
        # Each variant says which keys of its section it changes, and the reference none.
        (variant("interface", {"model.wait": 1}), f"{INTERFACE}.a.changes", "`interface` has no key `model.wait`"),
        (variant("interface", {"policy.group": 2}), f"{INTERFACE}.a.changes", "no key `policy.group`"),
        (variant("signals", {"policy.wait": 1}), f"{SIGNALS}.a.changes", "`joint` has no key `policy.wait`"),
        (variant("signals", {"model.sae": "topk"}), f"{SIGNALS}.a.changes", "no key `model.sae`"),
        (variant("signals", {"policy.group": 0}), f"{SIGNALS}.a.changes", "greater than or equal to 1"),
        (variant("signals", {"policy.reward.mask": 1.0}), f"{SIGNALS}.a.changes", "add to 1"),
        (variant("interface", {}, []), f"{INTERFACE}.a.seeds", "at least one seed"),
        (variant("interface", {}, [1, 1]), f"{INTERFACE}.a.seeds", "each once"),
        ({"experiments.interface.reference": "fool"}, "experiments.interface.reference", "compared with it"),
        ({"experiments.signals.reference": "seg_only"}, f"{SIGNALS}.seg_only.changes", "changes nothing"),
        # What a variant names must be there.
        ({"interface.model.sae": "missing"}, f"{INTERFACE}.reference", "neither in `saes` nor swept"),
        (variant("interface", {"model.sae": "missing"}), f"{INTERFACE}.a", "neither in `saes` nor swept"),
        (variant("interface", {"model.segmenter": "sam_huge"}), f"{INTERFACE}.a", "choose from sam"),
        (variant("interface", {"model.slots": 5}), f"{INTERFACE}.a", "above answer.slots 4"),
        (variant("signals", {"interface": "fool"}), f"{SIGNALS}.a", "not in experiments.interface.variants"),
        (variant("signals", {"interface": "dense"}, [1]), f"{SIGNALS}.a.seeds", "1 is not a seed of the interface `dense`"),
        (
            {"evaluation.oracle_thoughts": {"signals": ["fool"]}},
            "evaluation.oracle_thoughts.signals",
            "not in experiments.signals.variants",
        ),
        ({"evaluation.controls": {"signals": ["fool"]}}, "evaluation.controls.signals", "not in experiments.signals.variants"),
        ({"evaluation.controls": {}}, "analysis.correlation.variants.interface", "add it to evaluation.controls"),
        ({"analysis.correlation.variants": {"interface": ["full"]}}, "analysis.correlation.variants.interface", "`full` is not in"),
        ({"analysis.intervention.variants": ["full"]}, "analysis.intervention.variants.interface", "`full` is not in"),
        ({"analysis.exchange.variants.swap": ["full"]}, "analysis.exchange.variants.swap.interface", "`full` is not in"),
        ({"analysis.exchange.variants.swap": ["ref_only"]}, "analysis.exchange.variants.swap", "reads no concepts"),
        ({"analysis.exchange.variants.swap": ["text_readout"]}, "analysis.exchange.variants.swap", "reads no concepts"),
        ({"analysis.exchange.variants.thought_swap": ["ref_only"]}, "analysis.exchange.variants.thought_swap", "reads no token"),
        ({"analysis.exchange.variants": {"swop": []}}, "analysis.exchange.variants", "'swap'"),
        ({"analysis.exchange.concepts": [4, 4]}, "analysis.exchange.concepts", "each once"),
        ({"analysis.exchange.splits": {"refcoco": ["testC"]}}, "analysis.exchange.splits.refcoco", "choose from"),
        ({"analysis.intervention.curve.masks": [0.02]}, "analysis.intervention.curve", "0.02 is not in curve.fractions"),
        ({"analysis.intervention.curve.fractions": [0.1, 0.04]}, "analysis.intervention.curve.fractions", "ascending values, each once"),
        ({"analysis.intervention.dose.doses": [0.0, -1.0]}, "analysis.intervention.dose.doses", "greater than or equal to 0"),
        ({"evaluation.splits.refcoco": ["testA"]}, "analysis.intervention.splits.refcoco", "edits take from `val`"),
        ({"data.seed": True}, "data.seed", "integer"),
        ({"data.counterfactuals.splits": ["testA"]}, "data.counterfactuals.splits", "'val' or 'test'"),
        ({"data.counterfactuals.splits": ["val", "val"]}, "data.counterfactuals.splits", "each once"),
        ({"data.counterfactuals.pairs": -1}, "data.counterfactuals.pairs", "greater than or equal to 0"),
        ({"data.objects": [1, 2]}, "data.objects", "counterfactual pairs need 3 objects"),
        ({"saes.topk.k": -1}, "saes.topk.k", "greater than 0"),
        ({"saes.topk.decoder": "loose"}, "saes.topk.decoder", "'trained' or 'frozen'"),
        ({"saes.topk.decoder": {"soft_frozen": 1.0}}, "saes.topk.decoder", "less than 1"),
        ({"saes.random.like": "dense"}, "saes.random.like", "not a trained, sparse dictionary"),
        ({"saes.pca.width": 65}, "saes.pca.width", "64 dimensions"),
        ({"saes.neurons.like": "random"}, "saes.neurons.like", "not a trained, sparse dictionary"),
        ({"sweep.lines": [LINE | {"like": "dense"}]}, "sweep.lines.0.like", "architecture relu_l1, topk"),
        ({"sweep.lines": [LINE, LINE | {"sparsity": [64]}]}, "sweep.lines.1.sparsity", "smaller than width"),
        ({"sweep.lines": [LINE | {"sparsity": [2.5]}]}, "sweep.lines.0.sparsity", "whole number"),
        ({"sweep.lines": [LINE | {"hook_layer": 9}]} | UNSWEPT, "sweep.lines.0.hook_layer", "deeper"),
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


def smoke() -> Study:
    return load_study(PARAMS / "smoke.yaml")


@pytest.mark.parametrize("written", ["1e-05", "1E-5", "1.e-5", "0.00001"])
def test_numbers_are_read_as_dvc_writes_them(tmp_path: Path, written: str) -> None:
    path = tmp_path / "smoke.yaml"
    path.write_text(re.sub(r"(?m)^  learning_rate: 1.0e-3$", f"  learning_rate: {written}", (PARAMS / "smoke.yaml").read_text()))
    assert load_study(path).sae_training.learning_rate == 1e-5


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "smoke.yaml"
    path.write_text((PARAMS / "smoke.yaml").read_text().partition("\n")[2], encoding="utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbfstudy") and load_study(path) == load_study(PARAMS / "smoke.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("study: [smoke", "line 1: is not valid YAML: expected"),
        ("study: smoke\n\tthreads: 1", "line 2: is not valid YAML"),
        ("study: !!python/object:os.system x", "could not determine a constructor"),
        ("study: \x00", "unacceptable character"),
        ("study: &a [*a]", "a value that a study cannot have"),
        ("study: 2026-01-01", "a value that a study cannot have"),
        ("[" * 3000, "is not valid YAML"),
        ("- study", "as a mapping"),
        ("", "as a mapping"),
    ],
)
def test_what_is_no_study_at_all_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "smoke.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as fault:
        load_study(path)
    assert words in str(fault.value) and "\n" not in str(fault.value)


def test_a_variant_differs_in_its_declared_keys_only() -> None:
    study = smoke()
    full, cut = study.interface_variant("reference").model_dump(), study.interface_variant("sae_only").model_dump()
    assert cut["model"].pop("reference_state") is False
    assert full["model"].pop("reference_state") is True
    assert full == cut
    full, cut = study.joint_variant("full").model_dump(), study.joint_variant("seg_only").model_dump()
    assert (full["policy"].pop("weight"), cut["policy"].pop("weight")) == (1.0, 0.0)
    assert full == cut


def test_a_run_of_joint_training_has_the_interface_that_it_names_and_starts_from_its_seed(tmp_path: Path) -> None:
    study = load_study(edited(tmp_path, variant("signals", {"interface": "dense"})))
    run = ("signals", "a", 0)
    assert study.interface_of(run) == study.interface_variant("dense") and study.interface_of(run).model.sae == "dense"
    assert start_job(study, run) == run_job(TRAIN, ("interface", "dense", 0))


def test_what_runs_share_is_made_of_what_they_read(tmp_path: Path) -> None:
    """Answers hold the layers of all dictionaries that an interface reads, gold ones those of the variants that are taught."""
    study = smoke()
    layers = {part: answered_layers(study, part) for part in ("training", "evaluation", "gold", "pairs")}
    assert layers == {"training": [1, 2], "evaluation": [1, 2], "gold": [2], "pairs": [2]}
    assert used_segmenters(study) == ["sam", "sam_small"]
    silent = load_study(edited(tmp_path, {"evaluation.oracle_thoughts": {"signals": ["full"]}}))
    parts = [dict(job.wildcards)["part"] for job in all_jobs(silent) if job.stage == "cache_answers"]
    assert parts == ["training", "evaluation", "pairs"]


@pytest.mark.parametrize(
    "changes",
    [
        {"analysis.exchange.variants": {"paths": ["reference"]}},
        {"data.counterfactuals": {"pairs": 0, "splits": ["val", "test"]}},
        {"data.counterfactuals": {"pairs": 4, "splits": ["val"]}},
    ],
    ids=["not asked for", "none", "none of test"],
)
def test_pairs_are_answered_only_where_they_are_and_are_exchanged(tmp_path: Path, changes: dict) -> None:
    """Photographs have none, whatever is asked for."""
    for study in (load_study(edited(tmp_path, changes)), load_study(PARAMS / "paper_llava7b.yaml")):
        jobs = all_jobs(study)
        assert not any(dict(job.wildcards).get("part") == "pairs" for job in jobs)
        exchanges = [stage_params(study, job)["exchange"] for job in jobs if job.stage == "exchange"]
        assert exchanges and all(not keys["paired"] or keys["interventions"] == ["paths"] for keys in exchanges)


def test_exchanges_list_a_run_once_with_the_interventions_of_its_variant(tmp_path: Path) -> None:
    variants = {"paths": ["text_readout", "reference"], "swap": ["reference", "sam_small"]}
    study = load_study(edited(tmp_path, {"analysis.exchange.variants": variants}))
    jobs = {job: stage_params(study, job)["exchange"]["interventions"] for job in all_jobs(study) if job.stage == "exchange"}
    named = [(*dict(job.wildcards).values(), asked) for job, asked in jobs.items()]
    both = ["paths", "swap"]
    assert named == [("reference", "0", both), ("reference", "1", both), ("text_readout", "0", ["paths"]), ("sam_small", "0", ["swap"])]
    assert embedded_parts(study)[-3:] == [("sam_small", "training"), ("sam_small", "evaluation"), ("sam_small", "pairs")]


@pytest.mark.parametrize(
    ("added", "stages"),
    [
        ({f"{SIGNALS}.seg_only.seeds": [0, 1]}, {"train_joint", "evaluate_joint"}),
        ({f"{INTERFACE}.dense.seeds": [0, 1]}, {"train_interface", "evaluate_interface"}),
    ],
    ids=["signals", "interface"],
)
def test_an_added_seed_leaves_the_other_jobs_params_alone(tmp_path: Path, added: dict, stages: set[str]) -> None:
    before = smoke()
    after = load_study(edited(tmp_path, added))
    old = {job: stage_params(before, job) for job in all_jobs(before)}
    new = {job: stage_params(after, job) for job in all_jobs(after)}
    found = new.keys() - old.keys()
    changed_stages = {job.stage for job in old if new[job] != old[job]}
    assert {dict(job.wildcards)["seed"] for job in found} == {"1"} and {job.stage for job in found} == stages
    assert changed_stages <= {"judge_claims", "make_tables", "make_figures", "write_summary"}


def test_a_key_of_the_interface_moves_no_answer_and_a_key_of_the_answers_moves_every_run(tmp_path: Path) -> None:
    def moved(changes: dict) -> set[str]:
        before, after = smoke(), load_study(edited(tmp_path, changes))
        old = {job: stage_params(before, job) for job in all_jobs(before)}
        return {job.stage for job in all_jobs(after) if stage_params(after, job) != old[job]}

    # Tables say what each variant is.
    assert moved({"interface.training.masks.steps": 7}) == {"train_interface", "make_tables"}
    assert moved({"answers.prompts": 40}) == {"cache_answers", "embed_images"}
    assert moved({"joint.policy.kl": 0.1}) == {"train_joint", "make_tables"}


def test_a_sweep_keeps_the_keys_of_the_dictionary_it_is_like_and_caches_each_layer_once(tmp_path: Path) -> None:
    lines = [LINE | {"hook_layer": 2}, LINE | {"like": "relu_l1", "sparsity": [0.05, 1]}, LINE | {"sparsity": [8]}]
    study = load_study(edited(tmp_path, {"sweep.lines": lines} | UNSWEPT))
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
    saes = load_study(PARAMS / "smoke.yaml").model_dump(mode="json")["saes"]
    study = load_study(edited(tmp_path, {"saes": saes | {"other": saes["random"]}, "evaluation.control_sae": "other"}))
    jobs = {dict(job.wildcards)["sae"]: stage_params(study, job) for job in all_jobs(study) if job.stage == "score_concepts"}
    assert jobs["dense"]["control_sae"] == "other", "another control makes its scores stale"


CORPUS = {"source": "interleaved", "path": "data/obelics", "characters": 300}


def with_corpus(on_the_fly: bool) -> dict:
    activations = load_study(PARAMS / "smoke.yaml").activations.model_dump(mode="json")
    return {"activations": activations | {"corpus": CORPUS, "on_the_fly": on_the_fly}}


def test_a_corpus_is_a_key_of_the_caches_alone_and_may_be_left_out(tmp_path: Path) -> None:
    plain, read = load_study(PARAMS / "smoke.yaml"), load_study(edited(tmp_path, with_corpus(False)))
    params = [{job: stage_params(study, job) for job in all_jobs(study)} for study in (plain, read)]
    assert {job.stage for job in params[0] if params[0][job] != params[1][job]} == {"cache_activations"}
    for job, found in params[0].items():
        if job.stage == "cache_activations":
            assert "corpus" not in found["activations"] and params[1][job]["activations"]["corpus"] == CORPUS


def test_a_corpus_is_not_read_on_the_fly(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"activations\.on_the_fly: a corpus is read as a stream.*set it to false"):
        load_study(edited(tmp_path, with_corpus(True)))


SHARDS = {"cache_activations": 2, "cache_answers": 3, "evaluate_interface": 4, "evaluate_joint": 5}


def in_shards(tmp_path: Path, shards: dict, changes: dict | None = None) -> Path:
    """The smoke study, which has no section of the kind, with one."""
    path = edited(tmp_path, changes or {})
    path.write_text(path.read_text() + yaml.safe_dump({"shards": shards}))
    return path


def test_shards_may_be_left_out_and_are_no_key_of_any_job(tmp_path: Path) -> None:
    plain, divided = smoke(), load_study(in_shards(tmp_path, SHARDS))
    assert set(plain.shards.model_dump().values()) == {1} and divided.shards.model_dump() == SHARDS
    assert [stage_params(plain, job) for job in all_jobs(plain)] == [stage_params(divided, job) for job in all_jobs(divided)]
    job = next(job for job in all_jobs(divided) if job.stage == "evaluate_joint")
    assert shards_of(job, number_of_shards(plain, job)) == []
    shards = shards_of(job, number_of_shards(divided, job))
    assert [shard.wildcards[-1] for shard in shards] == [("shard", f"{number}_of_5") for number in (1, 2, 3, 4, 5)]
    assert str(shards[1].artefact("s")) == f"results/s/shards/evaluate/signals/{job.wildcards[0][1]}/seed0/2_of_5"
    assert {shard.whole for shard in shards} == {job} and all(
        stage_params(divided, shard) == stage_params(divided, job) for shard in shards
    )


@pytest.mark.parametrize("count", range(12))
def test_shards_share_out_all_batches_in_their_order_and_evenly(count: int) -> None:
    parts = [Shard(number, 5).part(count) for number in range(1, 6)]
    assert [batch for part in parts for batch in part] == list(range(count)) and max(map(len, parts)) - min(map(len, parts)) <= 1
    assert own_shard({"part": "gold", "shard": "2_of_5"}) == Shard(2, 5) and own_shard({"part": "gold"}).part(count) == range(count)


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        (SHARDS | {"cache_answers": 0}, r"shards\.cache_answers: input should be greater than or equal to 1, but the file says 0"),
        (SHARDS | {"cache_answers": 1.5}, r"shards\.cache_answers: input should be a valid integer"),
        (SHARDS | {"cache_answer": 2}, r"shards\.cache_answer: unknown key; did you mean `cache_answers`"),
        ({"cache_answers": 2}, r"shards\.cache_activations: missing"),
    ],
)
def test_a_faulty_number_of_shards_is_one_sentence(tmp_path: Path, shards: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_study(in_shards(tmp_path, shards))


def test_nothing_is_divided_that_is_not_done(tmp_path: Path) -> None:
    activations = smoke().activations.model_dump(mode="json", exclude={"corpus"}) | {"on_the_fly": True}
    with pytest.raises(InputError, match=r"shards\.cache_activations: nothing is cached where .* on the fly; set it to 1"):
        load_study(in_shards(tmp_path, SHARDS, {"activations": activations}))
