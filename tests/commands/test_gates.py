"""`segcompass gates`: measures of a tiny backbone, written to its card where that is asked; one sentence for any fault."""

import json
import shutil
from pathlib import Path

import pytest

from segcompass.backbone.build import save_embedded
from segcompass.backbone.card import GATE_SAYS, read_card
from segcompass.cli import main
from segcompass.commands import gates as command
from segcompass.joint import gates
from segcompass.joint.checkpoint import save_run
from segcompass.joint.model import InterfaceModel
from segcompass.provenance.stage import Stage
from segcompass.sae.checkpoint import save_dictionary
from segcompass.stages import prepare_data
from segcompass.study.jobs import Job, stage_params
from tests.tiny import micro_study, tiny_dictionary, tiny_joint, tiny_sam
from tests.workflow.project import ROOT

STUDY = ROOT / "tests" / "workflow" / "micro.yaml"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of the micro study, an untrained backbone of its sizes with a card, a dictionary and an interface."""
    root = tmp_path_factory.mktemp("gates")
    for name in ("data", "sae", "interface"):
        (root / name).mkdir()
    prepare_data.work(Stage("prepare_data", stage_params(micro_study(), Job("prepare_data")), {}, root / "data", {}, {}))
    model = tiny_joint()
    save_embedded(root / "backbone", model.vlm.model, model.vlm.processor, model.segmenter.model)
    shutil.copy(ROOT / "backbones" / "embedded" / "card.json", root / "backbone")
    save_dictionary(model.dictionary, root / "sae")
    save_run(InterfaceModel(tiny_sam(), tiny_dictionary(), model.settings, model.policy), root / "interface")
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "SAMPLES", 2)
    monkeypatch.setattr(gates, "FINE_TUNING", {"steps": 1, "prompts": 2, "learning_rate": 1e-4})
    monkeypatch.setattr(command, "TAUGHT", 4)


def asked(folders: Path, *words: str, backbone: Path | None = None) -> int:
    given = ["gates", str(backbone or folders / "backbone"), "--study", str(STUDY), "--data", str(folders / "data"), "--each", "2"]
    return main([*given, *words])


ROOM = {"greedy_right", "greedy_considered", "pass_at_2", "mixed_groups", "sampled_form_broken", "sampled_considered"}
ROOM |= {"sampled_right_if_considered", "sampled_right_if_hasty"}
FINE_TUNED = {"fine_tuning_before", "fine_tuning_after", "fine_tuning_gain"}


def test_measures_are_one_json_object_and_the_same_every_time(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = (folders / "backbone" / "card.json").read_bytes()
    said = []
    for _ in range(2):
        assert asked(folders) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    found = json.loads(said[0])
    assert set(found) == ROOM | FINE_TUNED
    assert all(-1 <= value <= 1 for value in found.values()) and found["sampled_form_broken"] == 1.0, "nothing has been learnt here"
    assert (folders / "backbone" / "card.json").read_bytes() == card, "nothing is written unasked"


def test_an_interface_adds_what_right_thoughts_are_worth(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(folders, "--interface", str(folders / "interface"), "--sae", str(folders / "sae")) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    benchmarks = micro_study().answers.benchmarks
    worth = {f"{kind}_{name}" for kind in ("gIoU", "gIoU_gold", "gold_gap") for name in benchmarks}
    assert set(found) == ROOM | FINE_TUNED | worth, "untrained answers have no group with right and wrong thoughts"
    for name in benchmarks:
        gap = found[f"gIoU_gold_{name}"] - found[f"gIoU_{name}"]
        assert found[f"gold_gap_{name}"] == pytest.approx(gap, abs=2e-4)


def test_the_card_shows_the_gates_and_keeps_everything_else(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = tmp_path / "backbone"
    shutil.copytree(folders / "backbone", backbone)
    before = read_card(backbone)
    assert asked(folders, "--card", backbone=backbone) == 0
    found, card = json.loads(capsys.readouterr().out), read_card(backbone)
    assert card["vlm"].pop("gates") == found
    before["vlm"].pop("gates", None)
    assert card == before
    page = (backbone / "README.md").read_text()
    assert f"| {GATE_SAYS['greedy_right']} | {100 * found['greedy_right']:.1f} |" in page and GATE_SAYS["fine_tuning_gain"] in page


def without_thoughts(folders: Path, tmp_path: Path) -> list[str]:
    shutil.copytree(folders / "data", tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "supervision")
    return ["--data", str(tmp_path / "data")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (without_thoughts, "val.jsonl: is missing; name a data artefact of the embedded world"),
        (lambda folders, _: ["--sae", str(folders / "sae")], "--interface, --sae: belong together"),
        (lambda folders, _: ["--interface", str(folders / "interface")], "--interface, --sae: belong together"),
        (lambda folders, path: ["--interface", str(path), "--sae", str(folders / "sae")], "interface.json"),
        (lambda folders, path: ["--study", str(path / "none.yaml")], "none.yaml"),
    ],
)
def test_faults_are_one_sentence(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: object, said: str) -> None:
    assert asked(folders, *words(folders, tmp_path)) == 2  # type: ignore[operator]
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "it/s" not in line]
    assert said in lines[-1] and not captured.out


def test_a_backbone_without_a_card_is_found_out_before_anything_is_measured(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "load_vlm", lambda *_: pytest.fail("the model was loaded"))
    assert asked(folders, "--card", backbone=tmp_path) == 2
    assert "card.json: vlm: is missing; leave --card out, or ship the backbone first" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("--each", "0"), ("--each", "x"), ("--seed", "-1")])
def test_numbers_out_of_range_are_refused(folders: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as ended:
        asked(folders, *words)
    assert ended.value.code == 2 and f"`{words[1]}` is no whole number" in capsys.readouterr().err
