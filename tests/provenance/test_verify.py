"""A report is never written from artefacts that disagree with the study file."""

import json
from pathlib import Path

import pytest

from segcompass.errors import InputError
from segcompass.provenance.stage import fingerprint
from segcompass.provenance.verify import verify_artefacts


def artefact(folder: Path, stage: str, params: dict, inputs: dict[str, str] | None = None) -> dict:
    record = {"stage": stage, "wildcards": {}, "params": params, "code": "c", "inputs": inputs or {}}
    record["fingerprint"] = fingerprint(record)
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(record))
    return record


@pytest.fixture
def chain(tmp_path: Path) -> tuple[list[Path], dict]:
    data, model = tmp_path / "data", tmp_path / "model"
    first = artefact(data, "prepare_data", {"seed": 0})
    artefact(model, "train", {"joint": {"steps": 3}}, {str(data): first["fingerprint"]})
    expected = {
        str(data): {"stage": "prepare_data", "wildcards": {}, "params": {"seed": 0}, "code": "c"},
        str(model): {"stage": "train", "wildcards": {}, "params": {"joint": {"steps": 3}}, "code": "c"},
    }
    return [data, model], expected


def refused(chain: tuple[list[Path], dict], message: str) -> None:
    with pytest.raises(InputError, match=message):
        verify_artefacts(*chain)


def test_what_agrees_passes(chain: tuple[list[Path], dict]) -> None:
    verify_artefacts(*chain)


def test_other_params_name_the_key(chain: tuple[list[Path], dict]) -> None:
    chain[1][str(chain[0][1])]["params"] = {"joint": {"steps": 4}}
    refused(chain, "params: differs from the study file in `joint` in `steps`; rerun")


def test_other_code_is_refused(chain: tuple[list[Path], dict]) -> None:
    chain[1][str(chain[0][0])]["code"] = "d"
    refused(chain, "code: differs")


def test_a_missing_artefact_is_refused(chain: tuple[list[Path], dict]) -> None:
    refused((chain[0][:1], chain[1]), "not given")
    (chain[0][1] / "run.json").unlink()
    refused(chain, "is missing; name a folder")


def test_an_input_that_was_made_anew_is_refused(chain: tuple[list[Path], dict]) -> None:
    artefact(chain[0][0], "prepare_data", {"seed": 1})
    chain[1][str(chain[0][0])]["params"] = {"seed": 1}
    refused(chain, "no longer the artefact that was read")


def test_a_record_changed_by_hand_is_refused(chain: tuple[list[Path], dict]) -> None:
    path = chain[0][1] / "run.json"
    path.write_text(path.read_text().replace('"inputs": {"', '"inputs": {"x'))
    refused(chain, "changed by hand")
