"""The studies at the paper's size, every stage, with tiny random checkpoints on disk in the place of the published ones.

A study file of `params/` is loaded, the keys below and no other are replaced, and the pipeline runs from a data root and model folders that
lie on disk as the originals do. What this shows is that the code runs through those files; nothing is learnt.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers.models.sam.configuration_sam import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamModel

from segcompass.study.experiments import changed
from segcompass.study.load import load_study
from tests.checkpoints import save_llava, save_qwen
from tests.workflow.project import ROOT, command, copy_project, planned

MICRO = ROOT / "tests" / "workflow" / "micro.yaml"
PATHS = {
    "data.root": "benchmarks_root",
    "backbone.vlm_path": "models/vlm",
    "backbone.sam_path": "models/sam",
    "backbone.smaller_sams": {"sam_vit_l": "models/sam_vit_l", "sam_vit_b": "models/sam_vit_b"},
}
MACHINE = {"runtime.device": "cpu", "threads": 1}
SIZES = {
    "answer.max_thought_tokens": 8,
    "warm_start.steps": 2,
    "warm_start.prompts": 2,
    "warm_start.samples": 4,
    "warm_start.least_valid": 0.0,
    "activations.hook_layer": 2,
    "activations.scenes": 6,
    "saes.relu_l1.width": 64,
    "saes.topk.width": 64,
    "saes.topk.k": 4,
    "saes.dense.width": 64,
    "sae_training.steps": 4,
    "sae_training.batch_tokens": 64,
    "sweep.steps": 2,
    "sweep.lines": [{"like": "relu_l1", "hook_layer": 1, "width": 32, "sparsity": [0.1]}],
    "answers.prompts": 8,
    "interface.training.masks.steps": 2,
    "joint.steps": 2,
    "joint.prompts": 2,
    "joint.pool": 4,
    "joint.policy.group": 2,
    "analysis.bootstrap.samples": 100,
    "analysis.correlation.permutations": 2,
    "analysis.intervention.fitted": 2,
    "analysis.intervention.steps": 1,
    "analysis.intervention.sham": 1,
    "analysis.intervention.curve.samples": {"zero": 2, "mean": 1, "resample": 1},
    "analysis.intervention.dose.samples": 1,
    "analysis.intervention.composition.samples": 1,
    "analysis.intervention.attribution.samples": 1,
    "analysis.intervention.attribution.ablated": 2,
    "analysis.intervention.traceability.samples": 1,
}
RUNS = {
    "interface": {"reference": {}, "layer_1": {"model.sae": "relu_l1_layer1_width32_l1_coefficient0p1"}, "sam_vit_l": None},
    "signals": {"full": {}, "rl_only": None},
}
"""Experiment -> variants that are run, one seed each, and what they change; None: what the study says."""
REPLACED = PATHS | MACHINE | SIZES


def save_sam(folder: Path, layers: int) -> None:
    """A folder in the form of `facebook/sam-vit-huge`: windowed and global attention, relative positions, 32 channels."""
    vision = SamVisionConfig(
        hidden_size=48,
        output_channels=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        mlp_dim=96,
        image_size=128,
        patch_size=8,
        window_size=5,
        global_attn_indexes=[layers - 1],
        num_pos_feats=16,
    )
    prompt = SamPromptEncoderConfig(hidden_size=32, image_size=128, patch_size=8, image_embedding_size=16)
    decoder = SamMaskDecoderConfig(hidden_size=32, mlp_dim=64, num_attention_heads=4, iou_head_hidden_dim=32)
    torch.manual_seed(0)
    SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)).save_pretrained(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root in the benchmarks' own layout, written by the embedded world."""
    root = copy_project(tmp_path_factory.mktemp("world"), MICRO)
    command(root, "snakemake", "--cores", "1", "results/default/data/run.json")
    return root / "results" / "default" / "data" / "root"


def project(folder: Path, study: str, data: Path, save_vlm: Callable[[Path], None]) -> Path:
    """The project in `folder` with a study of `params/`, the replaced keys changed, beside data and models."""
    raw = changed(yaml.safe_load((ROOT / "params" / f"{study}.yaml").read_text(encoding="utf-8")), REPLACED)
    for experiment, variants in RUNS.items():
        own = raw["experiments"][experiment]["variants"]
        kept = {name: {"seeds": [0], "changes": own[name]["changes"] if changes is None else changes} for name, changes in variants.items()}
        raw["experiments"][experiment]["variants"] = kept
    kept_runs = {name for experiment in RUNS.values() for name in experiment}
    for family in list(raw["analysis"]["families"].values()):
        family["tests"] = [test for test in family["tests"] if set(test.split(" - ")) <= kept_runs]
    raw["analysis"]["families"] = {name: family for name, family in raw["analysis"]["families"].items() if family["tests"]}
    raw["analysis"]["reinforcement"] = []
    raw["claims"]["stated"] = {}  # most are about variants that are not kept
    small = folder / "small.yaml"
    small.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    root = copy_project(folder / "project", small)
    save_vlm(root / "models/vlm")
    for layers, name in enumerate(("sam_vit_b", "sam_vit_l", "sam"), 1):
        save_sam(root / "models" / name, layers)
    (root / "benchmarks_root").symlink_to(data)
    return root


@pytest.mark.study
@pytest.mark.parametrize(
    ("study", "save_vlm", "width"), [("paper_llava7b", save_llava, 48), ("paper_qwen7b", save_qwen, 64)], ids=["llava", "qwen"]
)
def test_every_stage_runs_from_pretrained_folders(
    study: str, save_vlm: Callable[[Path], None], width: int, data: Path, tmp_path: Path
) -> None:
    root = project(tmp_path, study, data, save_vlm)
    command(root, "snakemake", "--cores", "1", "reproduce_all")
    assert planned(root) == set()
    results = root / "results/default"
    index = json.loads((results / "activations/layer2/index.json").read_text())
    assert (index["width"], index["hook_layer"], index["dtype"]) == (width, 2, "float16") and index["tokens"] > 0
    record = json.loads((results / "answers/training/run.json").read_text())
    assert {"results/default/warm_start", "results/default/data"} == set(record["inputs"])
    answers = json.loads((results / "answers/training/index.json").read_text())
    assert answers["layers"] == [1, 2] and sum(shard["rows"] for shard in answers["answers"]) == 8
    for variant in RUNS["interface"]:
        curves = list(csv.DictReader((results / f"interface/{variant}/seed0/curves.csv").open()))
        assert [row["phase"] for row in curves] == ["masks", "masks"], variant
    curves = {name: list(csv.DictReader((results / f"joint/{name}/seed0/curves.csv").open())) for name in RUNS["signals"]}
    assert {name: len(rows) for name, rows in curves.items()} == {"full": 2, "rl_only": 2}
    assert all(float(row[f"norm_{part}"]) > 0 for row in curves["full"] for part in ("language", "codebook", "mask_decoder"))
    assert all(float(row[f"norm_{part}"]) == 0 for row in curves["rl_only"] for part in ("codebook", "mask_decoder"))
    small = load_study(root / "params/default.yaml")
    for experiment, variants in RUNS.items():
        for variant in variants:
            for benchmark, splits in small.evaluated_splits(experiment, variant).items():
                for split in splits:
                    samples = (results / "data/manifests" / benchmark / f"{split}.jsonl").read_text().splitlines()
                    records = results / "evaluate" / experiment / variant / "seed0" / benchmark / split / "records.csv"
                    rows = list(csv.DictReader(records.open()))
                    assert [row["sample_id"] for row in rows] == [json.loads(line)["sample_id"] for line in samples]
    assert (root / "reports/default/summary.md").is_file()


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of every leaf."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {key: leaf for name, part in value.items() for key, leaf in leaves(part, f"{prefix}.{name}" if prefix else name).items()}


def test_the_paper_studies_differ_in_what_their_backbones_need_and_in_nothing_else() -> None:
    """The hook is part of the names of dictionaries that are swept there; how many jobs share work follows from the backbone's size."""
    found = []
    for name in ("llava7b", "llava13b", "qwen7b"):
        study = load_study(ROOT / "params" / f"paper_{name}.yaml")
        hook = study.activations.hook_layer
        words = [(f"_layer{hook}_", "_layer<hook>_"), (f'"hook_layer": {hook}', '"hook_layer": "<hook>"')]
        text = json.dumps(study.model_dump(mode="json"))
        for own, common in words:
            assert own in text
            text = text.replace(own, common)
        found.append(leaves(json.loads(text)))
    first, *others = found
    for other in others:
        assert first.keys() == other.keys()
        differing = {key for key in first if first[key] != other[key] and not key.startswith("shards.")}
        assert differing <= {"study", "backbone.vlm_path"}


def test_a_paper_study_asks_both_experiments_for_what_the_paper_shows() -> None:
    """Tables 4 to 6 and Figure 6, and the paper's own settings wherever the reference has a choice."""
    study = load_study(ROOT / "params" / "paper_llava7b.yaml")
    interfaces, signals = study.experiments.interface.variants, study.experiments.signals.variants
    assert [interfaces[name].changes for name in study.backbone.smaller_sams] == [
        {"model.segmenter": n} for n in study.backbone.smaller_sams
    ]
    assert [study.joint_variant(f"group_{group}").policy.group for group in (2, 4, 6)] == [2, 4, 6] and study.joint.policy.group == 8
    rewards = [study.joint_variant(name).policy.reward for name in ("reward_0_1", "reward_5_5", "full")]
    assert [(reward.format, reward.mask) for reward in rewards] == [(0.0, 1.0), (0.5, 0.5), (0.3, 0.7)]
    assert {"seg_only", "rl_only", "random_reward"} <= signals.keys()
    policy, model = study.joint.policy, study.interface.model
    assert (policy.advantages, policy.live_groups, policy.kl, study.joint.segmentation_gradient) == ("scaled", False, 0.2, 1.0)
    assert (study.joint.start, study.joint_variant("rl_only").start) == ("drawn", "trained")
    assert (model.sae, model.readout, model.codebook, model.mapper, model.slots) == ("relu_l1", "concepts", "queries", "fused", 6)
    five = {"reference", "topk", "dense", "random_sae", "sae_only", "ref_only"}
    assert {name: len(variant.seeds) for name, variant in interfaces.items()} == {name: 5 if name in five else 3 for name in interfaces}
    assert {len(variant.seeds) for variant in signals.values()} == {3}


@pytest.mark.parametrize("study", ["paper_llava7b", "paper_llava13b", "paper_qwen7b"])
def test_planning_without_the_data_ends_with_one_sentence(study: str) -> None:
    done = command(ROOT, "snakemake", "-n", f"reports/{study}/run.json", check=False)
    sentences = [line for line in done.stderr.splitlines() if "does not exist" in line]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert len(sentences) == 1 and "data/benchmarks/refcoco: does not exist, but the study names it" in sentences[0]


def unsourced(text: str) -> list[str]:
    """Lines of a study file whose value has no source: none beside it, and none beside a section that it lies in."""
    found, within = [], [(-1, False)]  # indentation of the open sections, and whether they have a source
    for number, line in enumerate(text.splitlines(), 1):
        value, _, comment = line.partition("  #")
        if not value.strip() or value.lstrip().startswith("#"):
            continue
        indent = len(value) - len(value.lstrip())
        while within[-1][0] >= indent:
            within.pop()
        sourced = within[-1][1] or any(word in comment for word in ("paper", "release", "ours"))
        if value.rstrip().endswith(":"):
            within.append((indent, sourced))
        elif not sourced and not value.strip().startswith(("study:", "source:", "root:")):
            found.append(f"{number}: {line}")
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("paper_*.yaml")), ids=lambda path: path.stem)
def test_every_value_of_the_paper_studies_says_where_it_comes_from(path: Path) -> None:
    assert unsourced(path.read_text(encoding="utf-8")) == []


def test_a_source_covers_its_own_section_and_no_other() -> None:
    assert unsourced("a:  # ours\n  b:\n    c: 1\n  d: 2\n") == []
    assert unsourced("a:  # ours\n  b: 1\nc:\n  d: 2\n") == ["4:   d: 2"]
    assert unsourced("a:\n  b:  # paper\n    c: 1\n  # ours\n  d:\n    e: 2\n") == ["6:     e: 2"]
