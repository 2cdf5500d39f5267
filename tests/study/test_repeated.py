"""Which dictionaries repeat the reference's, by seed or by steps, and who reads them."""

from pathlib import Path

import pytest
import yaml

from segcompass.errors import InputError
from segcompass.study.experiments import changed
from segcompass.study.jobs import Job, stage_params
from segcompass.study.load import load_study
from segcompass.study.repeated import checkpoints, other_seeds
from segcompass.study.study import Study

SMOKE = yaml.safe_load(Path("params/smoke.yaml").read_text())


def study(tmp_path: Path, extra: dict, variants: dict | None = None) -> Study:
    raw = SMOKE | {"saes": SMOKE["saes"] | extra}
    interface = SMOKE["experiments"]["interface"]
    own = {name: {"seeds": [0], "changes": {"model.sae": sae}} for name, sae in (variants or {}).items()}
    raw["experiments"] = SMOKE["experiments"] | {"interface": interface | {"variants": interface["variants"] | own}}
    path = tmp_path / "smoke.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return load_study(path)


def test_dictionaries_that_differ_by_one_key_alone_repeat_the_reference_s(tmp_path: Path) -> None:
    own = SMOKE["interface"]["model"]["sae"]
    base = SMOKE["saes"][own]
    extra = {"late": base | {"stop_after": 3}, "early": base | {"stop_after": 1}, "other": base | {"seed": 9}}
    extra |= {"both": base | {"seed": 9, "stop_after": 1}, "wider": base | {"width": 2 * base["width"]}}
    found = study(tmp_path, extra, {"of_early": "early", "of_other": "other"})
    assert checkpoints(found) == {"saes": ["early", "late", own], "variants": ["of_early", None, "reference"]}
    assert other_seeds(found) == {"saes": [own, "other"], "variants": ["reference", "of_other"]}
    judged = stage_params(found, Job("judge_claims"))["repeats"]
    assert judged == {"seeds": other_seeds(found), "checkpoints": checkpoints(found)}


def test_a_study_that_repeats_nothing_says_so_and_its_keys_are_as_they_were() -> None:
    smoke = load_study(Path("params/smoke.yaml"))
    assert checkpoints(smoke)["saes"] == other_seeds(smoke)["saes"] == [SMOKE["interface"]["model"]["sae"]]
    assert stage_params(smoke, Job("judge_claims"))["repeats"] == {}
    for name, dictionary in SMOKE["saes"].items():
        assert stage_params(smoke, Job("train_sae", (("sae", name),)))["dictionary"] == dictionary
    assert "across" not in stage_params(smoke, Job("correlate"))["correlation"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"saes.early": {"stop_after": 10**6}}, r"saes\.early\.stop_after: is 1000000, beyond sae_training\.steps \(\d+\); lower it"),
        ({"analysis.correlation.across": [["reference", "fool", "dense"]]}, r"across\.0\.variants: `fool` is not in .*; add it there"),
        ({"analysis.correlation.across": [["reference"] * 3]}, r"across\.0\.variants: list each variant once"),
        ({"analysis.correlation.across": [["reference"]]}, r"analysis\.correlation\.across\.0\.variants"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, changes: dict, sentence: str) -> None:
    ((place, value),) = changes.items()
    if place == "saes.early":
        raw = SMOKE | {"saes": SMOKE["saes"] | {"early": SMOKE["saes"][SMOKE["interface"]["model"]["sae"]] | value}}
    else:
        raw = changed(SMOKE, {"analysis.correlation": SMOKE["analysis"]["correlation"] | {"across": [{"name": "a", "variants": value[0]}]}})
    path = tmp_path / "smoke.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(InputError, match=sentence):
        load_study(path)
