"""What Snakemake plans after an edit: exactly the jobs that the edit reaches, shown on artefacts that agree with the study."""

import json
import shutil
from pathlib import Path

import pytest

from segcompass.provenance.stage import fingerprint
from segcompass.study.jobs import ARTEFACTS
from tests.workflow.project import ROOT, command, copy_project, edit, planned, pretend_built

REPORT = {"correlate", "judge_claims", "make_tables", "make_figures", "write_summary"}
ATLAS = {"make_atlas"}
"""Of one interface, its dictionary and its battery."""
DRAWN = REPORT - {"correlate"}
JUDGED = {"judge_claims", "make_figures", "write_summary"}
"""What a changed rule of a claim reruns."""
INTERFACES = {"reference_0", "reference_1", *(f"{name}_0" for name in ("dense", "sae_only", "text_readout", "ref_only", "layer_1"))}
INTERFACES |= {"sam_small_0", "untrained_0"}
READ = {f"{rule}_interface:{run}" for rule in ("train", "evaluate") for run in INTERFACES}
EDITED = {f"intervene:{run}" for run in ("reference_0", "reference_1", "ref_only_0", "text_readout_0")}
EXCHANGED = {"exchange:reference_0", "exchange:reference_1"}
INTERVENED = EDITED | EXCHANGED
JOINT = {f"{rule}_joint:{run}" for rule in ("train", "evaluate") for run in ("full_0", "full_1", "seg_only_0")}
RUNS = READ | JOINT | INTERVENED
EVALUATED = {job for job in RUNS if job.startswith("evaluate")}
SWEPT = {f"train_sae:topk_layer{layer}_width256_k{k}" for layer in (1, 2) for k in (4, 32)}
SCORED = {"relu_l1", "topk", "dense", "frozen_decoder", "soft_frozen_decoder", "frozen_decoder_topk", "soft_frozen_decoder_topk"}
SCORED |= {"pca", "neurons"}
OWN_SAES = {f"train_sae:{name}" for name in SCORED | {"random", "random_relu_l1"}}
SAES = OWN_SAES | SWEPT
LAYERS = {"cache_activations:1", "cache_activations:2"}
ANSWERS = {"cache_answers:training", "cache_answers:evaluation", "cache_answers:gold", "cache_answers:pairs"}
IMAGES = {f"embed_images:{name}_{part}" for name in ("sam", "sam_small") for part in ("training", "evaluation")}
IMAGES |= {"embed_images:sam_pairs"}
PAIRED = {"cache_answers:pairs", "embed_images:sam_pairs"}
"""Caches of counterfactual pairs, which only the SAM of the variants that are swapped embeds."""
SCORES = {f"score_concepts:{name}" for name in SCORED}


EVERY = "checkpoint_every: 4\n  segmentation: {weight: 1.0, heat_bce: "
"""What stands before the first loss of the interface's training."""


def of(run: str) -> set[str]:
    """Both jobs of a run of the interface experiment."""
    return {f"train_interface:{run}", f"evaluate_interface:{run}"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built study that no test changes."""
    root = copy_project(tmp_path_factory.mktemp("built") / "project", ROOT / "params" / "smoke.yaml")
    pretend_built(root)
    command(root, "snakemake", "--cores", "1", "--touch", "--forceall", "reproduce_all")
    return root


@pytest.fixture
def built(template: Path, tmp_path: Path) -> Path:
    """Another place with the same files at the same times."""
    return Path(shutil.copytree(template, tmp_path / "project", symlinks=True))


def test_a_built_study_has_nothing_to_do_and_an_unbuilt_one_has_everything(built: Path, tmp_path: Path) -> None:
    assert planned(built) == set()
    fresh = copy_project(tmp_path / "fresh", ROOT / "params" / "smoke.yaml")
    everything = {"prepare_data", "train_backbone", "label_tokens"} | LAYERS | SAES | SCORES | ANSWERS | IMAGES | RUNS | REPORT | ATLAS
    assert planned(fresh) == everything
    assert {job.partition(":")[0] for job in everything} == set(ARTEFACTS) - {"warm_start"}, "a policy that knows the form needs none"


@pytest.mark.parametrize(
    ("old", "new", "jobs"),
    [
        ("qualitative_samples: 2", "qualitative_samples: 3", {"make_figures", "write_summary"}),
        ("permutations: 999", "permutations: 998", {"correlate"} | JUDGED),
        ("alpha: 0.05", "alpha: 0.01", JUDGED),
        ("    sham: 8", "    sham: 6", EDITED | JUDGED | {"make_tables"} | ATLAS),
        ("    samples: 16", "    samples: 12", EXCHANGED | JUDGED | ATLAS),
        ("    examples: 1", "    examples: 2", EXCHANGED | JUDGED | ATLAS),
        ("tolerance: 0.1}", "tolerance: 0.2}", {"make_figures", "write_summary"}),
        ("pairs: {val: 4", "pairs: {val: 3", EXCHANGED | PAIRED | JUDGED | ATLAS),
        ("coverage_fraction: 0.1", "coverage_fraction: 0.2", EVALUATED | REPORT),
        (
            "oracle_thoughts: {interface: [reference]",
            "oracle_thoughts: {interface: [reference, dense]",
            {"evaluate_interface:dense_0", *DRAWN},
        ),
        ("comment", "comment", set()),
        (
            "topk: {architecture: topk, width: 256, decoder: trained, k: 16",
            "topk: {architecture: topk, width: 256, decoder: trained, k: 8",
            {"train_sae:topk", "train_sae:random"} | SCORES - {"score_concepts:relu_l1"} | EVALUATED | REPORT | ATLAS,
        ),
        (
            "activations:\n  hook_layer: 2",
            "activations:\n  hook_layer: 1",
            OWN_SAES | {"label_tokens"} | ANSWERS | SCORES | RUNS | REPORT | ATLAS,
        ),
        (
            "decoder: trained, l1_coefficient: 0.1",
            "decoder: trained, l1_coefficient: 0.2",
            {"train_sae:relu_l1", "train_sae:random_relu_l1", "train_sae:neurons", "score_concepts:relu_l1", "score_concepts:neurons"}
            | RUNS - of("dense_0") - of("layer_1_0")
            | REPORT
            | ATLAS,
        ),
        ("sweep:\n  steps: 60", "sweep:\n  steps: 50", SWEPT | of("layer_1_0") | DRAWN | ATLAS),
        ("coverage_fractions: [0.02, ", "coverage_fractions: [0.03, ", SCORES | DRAWN | ATLAS),
        ("expressions: 3", "expressions: 2", {"label_tokens"} | SCORES | DRAWN | ATLAS),
        (
            "prompts: 48",
            "prompts: 40",
            {"cache_answers:training", "embed_images:sam_training", "embed_images:sam_small_training"} | RUNS | REPORT | ATLAS,
        ),
        ("steps: 12, batch: 8", "steps: 10, batch: 8", RUNS - of("untrained_0") | REPORT | ATLAS),
        ("pool: 24", "pool: 20", JOINT | DRAWN),
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
    edit(built, "params/default.yaml", f"{EVERY}1.0, heat_dice: 1.0", f"{EVERY}2.0, heat_dice: 1.0")
    pretend_built(built)
    command(built, "snakemake", "--cores", "1", "--touch", "--forceall", "reproduce_all")
    edit(built, "params/default.yaml", f"{EVERY}2.0, heat_dice: 1.0", f"{EVERY}1.0, heat_dice: 2.0")
    assert planned(built) == RUNS | REPORT | ATLAS


def test_an_added_seed_and_an_added_variant_train_only_that(built: Path) -> None:
    edit(built, "params/default.yaml", "seg_only: {seeds: [0]", "seg_only: {seeds: [0, 1]")
    edit(built, "params/default.yaml", "\nevaluation:", "      cool: {seeds: [0], changes: {policy.temperature: 0.9}}\n\nevaluation:")
    new = {f"{rule}:{run}" for rule in ("train_joint", "evaluate_joint") for run in ("seg_only_1", "cool_0")}
    assert planned(built) == new | DRAWN


def test_a_removed_seed_rewrites_the_report_only(built: Path) -> None:
    edit(built, "params/default.yaml", "full: {seeds: [0, 1]", "full: {seeds: [0]")
    assert planned(built) == DRAWN


def test_what_was_frozen_of_a_dropped_variant_goes_and_the_rest_stays(built: Path) -> None:
    frozen = built / "results/default/frozen"
    before = {path.name for path in frozen.iterdir()}
    edit(built, "params/default.yaml", "      sam_small: {seeds: [0], changes: {model.segmenter: sam_small}}\n", "")
    planned(built)
    assert before - {path.name for path in frozen.iterdir()} == {
        *(f"{rule}_interface.sam_small_0.json" for rule in ("train", "evaluate")),
        *(f"embed_images.sam_small_{part}.json" for part in ("training", "evaluation")),
    }


def test_a_changed_line_reruns_the_stages_that_import_it_and_a_comment_none(built: Path) -> None:
    with (built / "segcompass/stages/train_sae.py").open("a") as module:
        module.write("\n# A comment.\n")
    assert planned(built) == set()
    with (built / "segcompass/stages/train_sae.py").open("a") as module:
        module.write("\nADDED = 1\n")
    assert planned(built) == SAES | SCORES | RUNS | REPORT | ATLAS
    with (built / "segcompass/provenance/code_digest.py").open("a") as module:
        module.write("\nADDED = 1\n")
    assert planned(built) == SAES | SCORES | RUNS | REPORT | ATLAS, "no stage runs the digest's own code"


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


DIVIDED = "threads: 1\nshards: {cache_activations: 1, cache_answers: 3, evaluate_interface: 1, evaluate_joint: 2}\n"
ANSWERED = "results/default/answers/training"


def recorded(root: Path, artefact: str, **changes: object) -> dict:
    """Changes what an artefact's `run.json` says, and with everything dated anew what follows agrees with it."""
    record = json.loads((root / artefact / "run.json").read_text()) | changes
    record["fingerprint"] = fingerprint(record)
    (root / artefact / "run.json").write_text(json.dumps(record))
    command(root, "snakemake", "--cores", "1", "--touch", "--forceall", "reproduce_all")
    return record


def test_work_is_divided_when_it_is_done_anew_and_what_agrees_stays(built: Path) -> None:
    """What reads something that is made anew is divided as the study says now, like that itself; here one evaluation says what it read."""
    read = json.loads((built / ANSWERED / "run.json").read_text())["fingerprint"]
    recorded(built, "results/default/evaluate/signals/full/seed0", inputs={ANSWERED: read})
    edit(built, "params/default.yaml", "threads: 1\n", DIVIDED)
    assert planned(built) == set(), "their number is no part of what an artefact is"
    edit(built, "params/default.yaml", "prompts: 48", "prompts: 40")
    jobs = planned(built)
    shards = {job for job in jobs if job.partition(":")[0].endswith("_shard")}
    expected = {f"cache_answers_shard:{number}_of_3_training" for number in (1, 2, 3)}
    assert shards == expected | {f"evaluate_joint_shard:full_{number}_of_2_0" for number in (1, 2)}
    images = {"embed_images:sam_training", "embed_images:sam_small_training"}
    assert jobs - shards == {"cache_answers:training"} | images | RUNS | REPORT | ATLAS


def test_deleted_shards_are_not_missed_and_made_again_only_with_what_was_gathered_from_them(built: Path) -> None:
    """As after `dvc pull` too: the number that an artefact was made in is that of its record, whatever the study says now."""
    recorded(built, ANSWERED, shards=[{}, {}])
    assert planned(built) == set() and not (built / "results/default/shards").exists()
    shutil.rmtree(built / ".snakemake")
    assert planned(built) == set(), "without Snakemake's own metadata"
    with (built / "segcompass/stages/cache_answers.py").open("a") as module:
        module.write("\nADDED = 1\n")
    assert not any("_shard" in job for job in planned(built)), "the study divides nothing"
    edit(built, "params/default.yaml", "threads: 1\n", DIVIDED)
    assert {f"cache_answers_shard:{number}_of_3_{part}" for number in (1, 2, 3) for part in ("training", "gold")} <= planned(built)


def test_shards_of_other_keys_that_lie_there_disturb_nothing(built: Path) -> None:
    """A study was edited, some of its shards were made, and the edit was taken back."""
    record = recorded(built, ANSWERED, shards=[{}, {}])
    left = built / "results/default/shards/answers/training/1_of_2"
    left.mkdir(parents=True)
    (left / "run.json").write_text(json.dumps(record | {"code": "other", "wildcards": {"part": "training", "shard": "1_of_2"}}))
    (left / ".snakemake_timestamp").touch()
    assert planned(built) == set()
    edit(built, "params/default.yaml", "threads: 1\n", DIVIDED.replace("cache_answers: 3", "cache_answers: 2"))
    edit(built, "params/default.yaml", "prompts: 48", "prompts: 40")
    assert {f"cache_answers_shard:{number}_of_2_training" for number in (1, 2)} <= planned(built)
