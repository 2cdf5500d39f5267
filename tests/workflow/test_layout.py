"""Names say where things are: rule = stage module = log folder, declared keys = used keys, DVC and Snakemake see the same keys."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from segcompass.provenance.freeze import benchmark_file
from segcompass.study.jobs import ARTEFACTS, Job, all_jobs, stage_params, wildcard_names
from segcompass.study.load import load_study
from segcompass.study.policy import POLICY_READERS
from segcompass.study.shard_jobs import RULE, ShardJob
from segcompass.study.shards import SHARDED
from tests.workflow.project import ROOT, command

RULES = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow" / "rules").glob("*.smk"))}
STUDIES = sorted((ROOT / "params").glob("*.yaml"))


def blocks() -> dict[str, str]:
    """Rule -> its text."""
    found = {}
    for text in RULES.values():
        for name, body in re.findall(r"(?m)^rule (\w+):\n((?:    .*\n|\n)+)", text):
            found[name] = body
    return found


def test_rule_stage_module_and_log_folder_share_one_name() -> None:
    modules = {path.stem for path in (ROOT / "segcompass" / "stages").glob("*.py")} - {"__init__"}
    assert set(blocks()) == modules == set(ARTEFACTS)
    for name, body in blocks().items():
        assert re.search(rf'"(python|{{params\.launch}}) -m segcompass\.stages\.{name} ', body)
        assert f'"logs/{{study}}/{name}/' in body


def test_the_shards_of_a_stage_run_its_rule_s_command_and_lie_where_its_jobs_say() -> None:
    texts = "".join(RULES.values())
    found = dict(re.findall(r"(?m)^use rule (\w+) as (\w+) with:\n(?:    .*\n|\n)+", texts))
    assert found == {stage: f"{stage}{RULE}" for stage in SHARDED}
    for stage in SHARDED:
        assert f'        temp(directory(shard_pattern("{stage}"))),\n' in texts
        assert "{params.shards} --out {params.out}" in blocks()[stage]


def test_snakemake_dates_each_job_by_the_benchmark_file_that_freezing_knows() -> None:
    """One of a job's own and one of a shard of it, whose wildcards stand for themselves."""
    patterns = set(re.findall(r'"(logs/{study}/.*\.tsv)"', "".join(RULES.values())))
    jobs = [Job(stage, tuple((name, f"{{{name}}}") for name in wildcard_names(stage))) for stage in ARTEFACTS]
    jobs += [ShardJob(job.stage, (*job.wildcards, ("shard", "{shard}"))) for job in jobs if job.stage in SHARDED]
    assert {str(benchmark_file("{study}", job)) for job in jobs} == patterns


def test_every_rule_has_log_benchmark_threads_resources_and_environment() -> None:
    for name, body in blocks().items():
        for directive in ("log:", "benchmark:", "threads:", "resources:", "conda:"):
            assert f"    {directive}" in body, f"{name} lacks {directive}"
        assert "run:" not in body and "script:" not in body


@pytest.mark.parametrize("stage", list(ARTEFACTS))
def test_a_stage_receives_exactly_the_keys_that_it_reads(stage: str) -> None:
    """Of all its jobs together: those of one part of a cache read keys that those of another do not have."""
    study = load_study(ROOT / "params" / ("paper_llava7b.yaml" if stage == "warm_start" else "smoke.yaml"))
    given = [stage_params(study, job) for job in all_jobs(study) if job.stage == stage]
    declared = {key for params in given for key in params}
    # The instruction set is read before the stage is imported, and checked by `run_stage`.
    declared -= {"runtime"} if all(set(params["runtime"]) == {"instruction_set"} for params in given) else set()
    # Freezing adds these: digests, which the study file cannot hold.
    declared |= {"write_summary": {"expected"}, "train_backbone": {"files"}, "prepare_data": {"files"}}.get(stage, set())
    tree = ast.parse((ROOT / "segcompass" / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    assert read_keys(tree) == declared


def read_keys(tree: ast.AST) -> set[str]:
    """Keys that a module reads of `stage.params`, under that name or one that it is given first."""
    named = {"stage.params"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "stage.params":
            named |= {ast.unparse(target) for target in node.targets}
    return {
        node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and ast.unparse(node.value) in named
    }


def test_keys_are_found_under_every_name_of_the_params() -> None:
    tree = ast.parse("keys = stage.params\na = keys['x']\nb = stage.params['y']\nc = other['z']\n")
    assert read_keys(tree) == {"x", "y"}


def test_dvc_names_the_keys_that_snakemake_s_jobs_read() -> None:
    """After `python -m segcompass.study.dvc_keys` this holds; where it does not, DVC overlooks an edit that Snakemake sees."""
    command(ROOT, "python", "-m", "segcompass.study.dvc_keys", "--check")


def test_dvc_stages_depend_on_what_their_rules_read() -> None:
    """Every edge of Snakemake's rule graph is a dependency in `dvc.yaml`; the summary's may lead through other stages."""
    graph = command(ROOT, "snakemake", "--rulegraph", "dot", "--quiet", "--forceall", "smoke").stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', graph))
    edges = {(names[one], names[other]) for one, other in re.findall(r"(\d+) -> (\d+)", graph)} - {("write_summary", "smoke")}
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    makes, reads = {}, {}
    for name, stage in stages.items():
        rules = re.findall(r"--allowed-rules ([\w ]+) --", stage["cmd"])[0].split()
        makes |= dict.fromkeys(rules, name)
        reads[name] = {other for other, made in stages.items() for out in made["outs"] if next(iter(out)) in stage["deps"]}
    assert set(makes) == set(ARTEFACTS) | {f"{stage}{RULE}" for stage in SHARDED}
    assert all(makes[f"{stage}{RULE}"] == makes[stage] for stage in SHARDED)
    wanted = {(makes[one], makes[other]) for one, other in edges if makes[one] != makes[other]}
    direct = {(one, name) for name, found in reads.items() for one in found}
    assert len(wanted) > len(stages)
    reached = direct | {(one, last) for one, middle in direct for first, last in direct if middle == first}
    assert wanted - {edge for edge in wanted if edge[1] == "report"} <= direct and wanted <= reached
    # With a cache, dictionaries do not read the backbone itself; a study that trains on the fly does. This one has no warm start.
    started = {("prepare_data", "warm_start"), ("train_backbone", "warm_start"), *(("warm_start", reader) for reader in POLICY_READERS)}
    assert {edge for edge in started if edge[1] != "make_atlas"} <= direct
    started.add(("warm_start", "report"))
    assert direct - wanted - started <= {("prepare_data", "train_sae"), ("train_backbone", "train_sae")}


def test_dvc_reruns_what_all_runs_share_only_for_the_keys_that_it_is_made_from() -> None:
    """Steps and rates of the interfaces are edited often, and answers and embeddings are dear."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name, of_interface in {"cache_answers": "interface.model.sae", "embed_images": "interface.model.segmenter"}.items():
        (named,) = stages[name]["params"][0].values()
        assert {place for place in named if place.partition(".")[0] in ("interface", "joint")} == {of_interface}


def test_dvc_outputs_are_the_artefacts() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outputs = {name for stage in stages.values() for out in (*stage["outs"], *stage.get("metrics", [])) for name in out}
    for pattern in ARTEFACTS.values():
        place = re.split(r"/[a-z]*{(?!study)", pattern)[0].replace("{study}", "${study}")
        assert any(out == place or out.startswith(f"{place}/") for out in outputs), place


def test_the_package_never_imports_snakemake_and_reports_never_import_torch() -> None:
    for path in (ROOT / "segcompass").rglob("*.py"):
        assert "import snakemake" not in path.read_text(encoding="utf-8"), path
    light = ("prepare_data", "correlate", "judge_claims", "make_tables", "make_figures", "write_summary")
    code = "import sys\n" + "\n".join(f"import segcompass.stages.{stage}" for stage in light)
    code += "\nassert not {'torch', 'transformers'} & set(sys.modules)"
    command(ROOT, "python", "-c", code)


def test_no_module_is_a_drawer() -> None:
    names = {path.stem for path in (ROOT / "segcompass").rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "segcompass").rglob("*.py"))
    assert lengths[len(lengths) // 2] < 200 and lengths[-1] < 400


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_committed_studies_are_valid(path: Path) -> None:
    assert load_study(path).study == path.stem
