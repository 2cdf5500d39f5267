"""A run is watched on val alone, the rule keeps the weights that it names; neither the lack of test nor a second process changes a run."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from segcompass.datasets.artefact import LearningData, manifest
from segcompass.datasets.masks import empty
from segcompass.datasets.samples import Sample, write_samples
from segcompass.joint.validation import KeptWeights, spread_samples
from segcompass.provenance.freeze import frozen_contents
from segcompass.study.jobs import Job
from segcompass.study.joint import JointSettings
from tests.arithmetic import same_training
from tests.tiny import micro_study, without_key_biases
from tests.workflow.project import ROOT, command

TWO_PROCESSES = ("accelerate", "launch", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
KINDS = {"whole weights": ("--multi_gpu",), "divided weights": ("--config_file", "workflow/accelerate/fsdp_8gpu_llava.yaml")}
"""What `accelerate launch` is told of the weights; two processes start on a CPU by either."""
TEST_SPLITS = ("test", "testA", "testB")
FILES = ("model.safetensors", "interface.json", "curves.csv", "validation.csv")


def test_learning_data_refuses_every_split_but_train_and_val(tmp_path: Path) -> None:
    data = LearningData(tmp_path)
    for split in (*TEST_SPLITS, "../test"):
        with pytest.raises(ValueError, match="training may not see"):
            data.samples("refcoco", split)
        with pytest.raises(ValueError, match="training may not see"):
            data.gold_thoughts(split)
    assert data.gold_thoughts("val") == {}


def test_samples_are_spread_evenly_and_are_the_same_every_time(tmp_path: Path) -> None:
    for benchmark in ("refcoco", "grefcoco"):
        path = manifest(tmp_path, benchmark, "val")
        path.parent.mkdir(parents=True)
        write_samples([Sample(f"{benchmark}{n:02}", "i.jpg", 4, 4, "x", True, empty(4, 4), None, ()) for n in range(20)], path)

    def chosen(count: int, seed: int) -> list[str]:
        return [sample.sample_id for _, sample in spread_samples(LearningData(tmp_path), ["refcoco", "grefcoco"], count, seed)]

    names = chosen(7, 0)
    assert names == chosen(7, 0) != chosen(7, 1)
    assert names == [*sorted(names[:3]), *sorted(names[3:])] and len(set(names)) == 7
    assert [name.startswith("ref") for name in names] == [True] * 3 + [False] * 4
    assert len(chosen(1000, 0)) == 40


@pytest.mark.parametrize(("rule", "step", "weight"), [("last", 6, 6.0), ("best_on_val", 2, 2.0)])
def test_the_rule_keeps_the_last_weights_or_the_earliest_best(rule: str, step: int, weight: float) -> None:
    trained = {"w": nn.Parameter(torch.zeros(3))}
    kept = KeptWeights(rule, trained)  # type: ignore[arg-type]
    for done, score in ((0, 0.1), (2, 0.5), (4, 0.5), (6, 0.2)):
        trained["w"].data.fill_(done)
        kept.consider(done, score)
    kept.restore()
    assert kept.step == step and trained["w"].tolist() == [weight] * 3


def trained(artefacts: Path, data: Path, out: Path, launch: tuple[str, ...] = ("python",)) -> Path:
    """The run of stage train_joint on the micro study."""
    params = out.with_suffix(".json")
    params.write_text(json.dumps(frozen_contents(micro_study(), ROOT)[Job("train_joint", (("variant", "full"), ("seed", "0")))]))
    inputs = ["--data", str(data), "--backbone", str(artefacts / "backbone"), "--sae", str(artefacts / "sae")]
    inputs += ["--images", str(artefacts / "images" / "training"), "--interface", str(artefacts / "interface")]
    command(ROOT, *launch, "-m", "segcompass.stages.train_joint", "--params", str(params), *inputs, "--out", str(out))
    return out


def learning_rate(name: str, settings: JointSettings) -> float:
    """Of a trained tensor; the part that it belongs to stands in its name."""
    rates = settings.learning_rates.model_dump()
    return rates[next((part for part in rates if f".{part}." in name), "language")]


@pytest.fixture(scope="module")
def whole(artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(artefacts, artefacts / "data", tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.study
def test_without_anything_of_test_a_run_ends_with_the_same_bytes(artefacts: Path, whole: Path, tmp_path: Path) -> None:
    blind = tmp_path / "data"
    shutil.copytree(artefacts / "data", blind)
    listed = [path for split in TEST_SPLITS for path in (blind / "scenes").glob(f"*{split}.jsonl")]
    scenes = [json.loads(line) for path in listed for line in path.read_text().splitlines()]
    removed = [blind / "root" / scene["image"] for scene in scenes]
    removed += [path for split in TEST_SPLITS for path in blind.rglob(f"*{split}.jsonl")]
    removed += [path for path in (blind / "root").rglob("*") if path.suffix in (".p", ".json") or path.parent.name == "test"]
    for path in {path for path in removed if path.is_file()}:
        path.unlink()
    assert len(removed) > 20 and not [path for path in blind.rglob("*test*") if path.is_file()]
    run = trained(artefacts, blind, tmp_path / "run")
    assert all((run / name).read_bytes() == (whole / name).read_bytes() for name in FILES)


@pytest.mark.numerical
@pytest.mark.study
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_publish_the_run_of_one(kind: str, artefacts: Path, whole: Path, tmp_path: Path) -> None:
    run = trained(artefacts, artefacts / "data", tmp_path / "run", (*TWO_PROCESSES, *KINDS[kind]))
    facts = json.loads((run / "run.json").read_text())["facts"]
    assert facts["processes"] == 2 and facts.get("weights_divided", False) == (kind == "divided weights")
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}
    one, two = (without_key_biases(load_file(folder / "model.safetensors")) for folder in (whole, run))
    settings = micro_study().joint
    for name in one:
        assert same_training(two[name], one[name], learning_rate(name, settings) * settings.steps), name
    for name in ("curves.csv", "validation.csv"):
        ours, theirs = (list(csv.reader((folder / name).open())) for folder in (run, whole))
        assert ours[0] == theirs[0] and len(ours) == len(theirs)
        for mine, other in zip(ours[1:], theirs[1:], strict=True):
            # The second step's gradients are those of weights that are a thousandth of the first step apart.
            found, expected = ([float(value or -1) for value in row] for row in (mine, other))
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), name


@pytest.mark.study
def test_a_run_leaves_its_curves_its_validations_and_its_seconds(whole: Path) -> None:
    curve, validation = (list(csv.DictReader((whole / f"{name}.csv").open())) for name in ("curves", "validation"))
    assert [row["step"] for row in curve] == ["0", "1"] and [row["step"] for row in validation] == ["0", "1", "2"]
    shares = ("thought_accuracy", "considered", "live_groups", "reward", "reward_format")
    assert all(0 <= float(row[name]) <= 1 for row in curve for name in shares) and all(float(row["kl_to_reference"]) >= 0 for row in curve)
    measures = ("gIoU", "thought_accuracy", "considered", "valid_answers", "N-acc")
    assert list(validation[0]) == ["step", *measures]
    assert all(0 <= float(row[name]) <= 1 for row in validation for name in measures if row[name])
    facts = json.loads((whole / "run.json").read_text())["facts"]
    phases = {"batch", "sampling", "policy", "masks", "reference", "backward", "optimiser", "validation"}
    assert facts["kept_step"] == 2 and set(facts["seconds_per_phase"]) == phases and min(facts["seconds_per_phase"].values()) >= 0
