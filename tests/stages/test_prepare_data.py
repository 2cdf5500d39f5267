"""Manifests of a root of real benchmarks: the splits that are there, and no empty file for one that is not."""

from pathlib import Path

from segcompass.provenance.stage import Stage
from segcompass.stages import prepare_data
from tests.datasets.test_loaders import box, reasonseg_root, refer_root


def test_splits_that_a_root_lacks_have_no_manifest(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    refer_root(reasonseg_root(root, [box("target", 4, 4, 6, 6)]))
    data = {"source": "root", "root": str(root), "partitions": {"refcoco": "unc", "reasonseg": None}}
    stage = Stage("prepare_data", {"data": data, "files": {}}, {}, out, {}, {})
    prepare_data.work(stage)
    assert stage.rows == {"refcoco/val": 2, "reasonseg/val": 1}
    assert {str(path.relative_to(out / "manifests")) for path in out.rglob("*.jsonl")} == {"refcoco/val.jsonl", "reasonseg/val.jsonl"}
