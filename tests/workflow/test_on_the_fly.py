"""A study that trains on the fly makes its dictionaries of every layer without a cache, in one process or in two."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.arithmetic import same_training
from tests.tiny import pictures
from tests.workflow.project import ROOT, command, copy_project, edit, planned

pytestmark = pytest.mark.study
LAYERS = {"topk": 2, "random": 2, "topk_layer1_width32_k2": 1}
TWO_PROCESSES = "accelerate launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
"""`--multi_gpu` is what makes accelerate start two processes on a CPU as well."""


def targets(root: Path, stage: str) -> list[str]:
    return command(root, "python", "-m", "segcompass.study.targets", "params/default.yaml", stage).stdout.split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dictionaries of the micro study, trained on the fly."""
    root = copy_project(tmp_path_factory.mktemp("on_the_fly"), ROOT / "tests" / "workflow" / "micro.yaml")
    edit(root, "params/default.yaml", "on_the_fly: false", "on_the_fly: true")
    command(root, "snakemake", "--cores", "1", *targets(root, "train_sae"))
    return root


def test_every_dictionary_is_made_without_a_cache(trained: Path) -> None:
    assert {Path(path).parent.name for path in targets(trained, "train_sae")} == set(LAYERS)
    for name, layer in LAYERS.items():
        folder = trained / "results/default/sae" / name
        assert json.loads((folder / "cfg.json").read_text())["metadata"]["hook_layer"] == layer
        assert set(json.loads((folder / "run.json").read_text())["inputs"]) >= {"results/default/data", "results/default/backbone"}
        assert json.loads((folder / "metrics.json").read_text())["all"]["tokens"] > 0
    assert targets(trained, "cache_activations") == [] and not (trained / "results/default/activations").exists()
    assert not {job for job in planned(trained) if job.startswith(("cache_activations", "train_sae"))}


def test_with_a_cache_they_are_the_same_to_the_byte(trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "cached"
    shutil.copytree(trained, root, symlinks=True)
    edit(root, "params/default.yaml", "on_the_fly: true", "on_the_fly: false")
    command(root, "snakemake", "--cores", "1", "results/default/sae/topk/run.json")
    for name in ("sae_weights.safetensors", "curves.csv", "metrics.json"):
        files = [folder / "results/default/sae/topk" / name for folder in (trained, root)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    assert (root / "results/default/activations/layer2/index.json").is_file()


def test_a_study_that_names_a_corpus_trains_on_it_says_what_it_left_out_and_sees_a_changed_file(trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(trained, root, symlinks=True)
    edit(root, "params/default.yaml", "on_the_fly: true", "on_the_fly: false\n  corpus: {source: captions, path: pictures, characters: 80}")
    (root / "pictures").mkdir()
    for number, picture in enumerate(pictures(5)):
        Image.fromarray(picture).save(root / "pictures" / f"{number}.png")
        if number:
            (root / "pictures" / f"{number}.txt").write_text("the red ring")
    command(root, "snakemake", "--cores", "1", "results/default/sae/topk/run.json")
    record = json.loads((root / "results/default/activations/layer2/run.json").read_text())
    assert record["facts"]["corpus"] == {"path": "pictures", "skipped": {"text missing": 1}} and record["rows"]["expressions"] == 4
    assert planned(root, "results/default/sae/topk/run.json") == set()
    (root / "pictures" / "0.txt").write_text("the blue square")
    assert "cache_activations:2" in planned(root, "results/default/sae/topk/run.json")


def test_two_processes_publish_one_dictionary(trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "two"
    shutil.copytree(trained, root, symlinks=True)
    shutil.rmtree(root / "results/default/sae/topk")
    (root / "launch.yaml").write_text(json.dumps({"launch": {"train_sae": TWO_PROCESSES}}))
    command(root, "snakemake", "--cores", "1", "--configfile", "launch.yaml", "--", "results/default/sae/topk/run.json")
    record = json.loads((root / "results/default/sae/topk/run.json").read_text())
    assert record["facts"]["processes"] == 2 and record["rows"]["steps"] == 4
    one, two = (load_file(folder / "results/default/sae/topk/sae_weights.safetensors") for folder in (trained, root))
    # Four steps at a rate of a thousandth or more move these weights by more than a hundredth of them.
    assert all(same_training(two[key], one[key], 0.01 * float(one[key].square().mean().sqrt())) for key in one)
    assert not (root / "results/default/sae/.partial").exists()
