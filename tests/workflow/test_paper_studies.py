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

from segcompass.study.load import load_study
from segcompass.study.study import changed
from tests.checkpoints import save_llava, save_qwen
from tests.workflow.project import ROOT, command, copy_project, planned

MICRO = ROOT / "tests" / "workflow" / "micro.yaml"
SAM_PATHS = {
    "backbone.sam_path": "models/sam",
    "backbone.smaller_sams.sam_large": "models/sam_large",
    "backbone.smaller_sams.sam_base": "models/sam_base",
}
PATHS = {"data.root": "benchmarks_root", "backbone.vlm_path": "models/vlm"} | SAM_PATHS
MACHINE = {"runtime.device": "cpu", "threads": 1}
SIZES = {
    "answer.max_thought_tokens": 8,
    "activations.hook_layer": 2,
    "activations.scenes": 6,
    "saes.relu_l1.width": 64,
    "saes.dense.width": 64,
    "sae_training.steps": 4,
    "sae_training.batch_tokens": 64,
    "joint.steps": 2,
    "joint.prompts": 2,
    "joint.warm_up.prompts": 8,
    "joint.policy.group": 2,
    "variants": {"full": {"seeds": [0], "changes": {}}},
    "analysis.bootstrap.samples": 100,
    "analysis.correlation.permutations": 2,
    "analysis.intervention.samples": 2,
    "analysis.intervention.top_concepts": [1],
}
REPLACED = PATHS | MACHINE | SIZES


def save_sam(folder: Path) -> None:
    """A folder in the form of `facebook/sam-vit-huge`: windowed and global attention, relative positions, 32 channels."""
    vision = SamVisionConfig(
        hidden_size=48,
        output_channels=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        mlp_dim=96,
        image_size=128,
        patch_size=8,
        window_size=5,
        global_attn_indexes=[1],
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
    small = folder / "small.yaml"
    small.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    root = copy_project(folder / "project", small)
    save_vlm(root / PATHS["backbone.vlm_path"])
    for path in SAM_PATHS.values():
        save_sam(root / path)
    (root / PATHS["data.root"]).symlink_to(data)
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
    index = json.loads((root / "results/default/activations/layer2/index.json").read_text())
    assert (index["width"], index["hook_layer"], index["dtype"]) == (width, 2, "float16") and index["tokens"] > 0
    curves = list(csv.DictReader((root / "results/default/joint/full/seed0/curves.csv").open()))
    assert len(curves) == 2 and all(float(row[f"norm_{part}"]) > 0 for row in curves for part in ("language", "codebook", "mask_decoder"))
    for benchmark, splits in load_study(root / "params/default.yaml").evaluation.splits.items():
        for split in splits:
            rows = list(csv.DictReader((root / "results/default/evaluate/full/seed0" / benchmark / split / "records.csv").open()))
            samples = (root / "results/default/data/manifests" / benchmark / f"{split}.jsonl").read_text().splitlines()
            assert [row["sample_id"] for row in rows] == [json.loads(line)["sample_id"] for line in samples]
    assert (root / "reports/default/summary.md").is_file()


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of every leaf."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {key: leaf for name, part in value.items() for key, leaf in leaves(part, f"{prefix}.{name}" if prefix else name).items()}


def test_the_paper_studies_differ_in_what_their_backbones_need_and_in_nothing_else() -> None:
    first, *others = (leaves(load_study(ROOT / "params" / f"paper_{name}.yaml").model_dump()) for name in ("llava7b", "llava13b", "qwen7b"))
    for other in others:
        assert {key for key in first if first[key] != other[key]} <= {"study", "backbone.vlm_path", "activations.hook_layer"}


@pytest.mark.parametrize("study", ["paper_llava7b", "paper_llava13b", "paper_qwen7b"])
def test_planning_without_the_data_ends_with_one_sentence(study: str) -> None:
    done = command(ROOT, "snakemake", "-n", f"reports/{study}/run.json", check=False)
    sentences = [line for line in done.stderr.splitlines() if "does not exist" in line]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert len(sentences) == 1 and "data/benchmarks/refcoco: does not exist, but the study names it" in sentences[0]


def test_every_value_of_the_paper_studies_says_where_it_comes_from() -> None:
    for path in sorted((ROOT / "params").glob("paper_*.yaml")):
        sourced = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            indent = len(line) - len(line.lstrip())
            if not line.strip() or line.startswith("#"):
                continue
            comment = line.partition("  # ")[2]
            if indent == 0:
                sourced = False
            names_source = any(word in comment for word in ("paper", "release", "ours"))
            if indent <= 2 and line.rstrip().split("  #")[0].endswith(":"):
                sourced = (sourced and indent > 0) or names_source
                continue
            exempt = line.startswith("study:") or line.strip().startswith(("source:", "root:"))
            assert names_source or sourced or exempt, f"{path.name}:{number}: {line}"
