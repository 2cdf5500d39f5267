"""A study over a root on disk reads the same samples as the world that wrote that root, and plans once the layout is there."""

import re
from pathlib import Path

import pytest

from segcompass.datasets.samples import read_samples
from segcompass.datasets.splits import BENCHMARKS
from segcompass.study.load import load_study
from tests.workflow.project import ROOT, command, copy_project, planned

pytestmark = pytest.mark.study
MICRO = ROOT / "tests" / "workflow" / "micro.yaml"
REAL = """data:
  source: root
  root: benchmarks_root
  partitions: {refcoco: unc, refcoco+: unc, refcocog: umd, grefcoco: unc, reasonseg: null}
"""


def test_manifests_of_a_root_and_its_staleness(tmp_path: Path) -> None:
    root = copy_project(tmp_path, MICRO)
    command(root, "snakemake", "--cores", "1", "results/default/data/run.json")
    written = (root / "results/default/data/manifests").rglob("*.jsonl")
    embedded = {path.relative_to(root): list(read_samples(path)) for path in written if path.parent.name in BENCHMARKS}
    (root / "results/default/data/root").rename(root / "benchmarks_root")
    study = root / "params" / "default.yaml"
    for part in ("vlm", *load_study(study).backbone.segmenters):
        (root / "backbones/embedded" / part).mkdir()
    text = re.sub(r"(?ms)^data:\n.*?\n(?=\n)", REAL, study.read_text(), count=1)
    study.write_text(text.replace("source: build", "source: shipped").replace("thoughts: gold", "thoughts: policy"))
    assert {job.partition(":")[0] for job in planned(root)} >= {"prepare_data", "train_joint", "write_summary"}
    command(root, "snakemake", "--cores", "1", "results/default/data/run.json")
    real = {path.relative_to(root): list(read_samples(path)) for path in (root / "results/default/data/manifests").rglob("*.jsonl")}
    assert set(real) == set(embedded)
    for path, samples in real.items():
        assert samples == embedded[path], path
    assert "prepare_data" not in planned(root)
    refs = root / "benchmarks_root" / "grefcoco" / "grefs(unc).json"
    refs.write_text(refs.read_text() + " ")
    assert "prepare_data" in planned(root), "exchanged annotation files are seen"
    refs.unlink()
    (root / "benchmarks_root" / "grefcoco").rename(root / "benchmarks_root" / "elsewhere")
    done = command(root, "snakemake", "--cores", "1", "-n", "reproduce_all", check=False)
    assert done.returncode == 2 and "benchmarks_root/grefcoco: does not exist" in done.stderr and "Traceback" not in done.stderr
