"""The section of claims: what it cannot hold is one sentence, and a digest covers all of a rule and nothing else."""

import re
from pathlib import Path

import pytest
import yaml

from segcompass.errors import InputError
from segcompass.study.claims import MEASURES, ClaimsSettings, rule_digests
from segcompass.study.experiments import changed
from segcompass.study.load import load_study, validated

SMOKE = yaml.safe_load(Path("params/smoke.yaml").read_text())
NAMES = ("sparse_beats_dense", "concepts_name_colour", "necessary", "masks_close_gap")
DENSE, NAMED, CAUSE, GAP = (f"claims.stated.{name}" for name in NAMES)
OTHER = SMOKE["claims"]["stated"]["sparse_beats_dense"]


def section(changes: dict) -> ClaimsSettings:
    return validated(ClaimsSettings, changed(SMOKE["claims"], changes), Path("smoke.yaml"))


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({f"{DENSE}.estimand.of": "reference - fool"}, f"{DENSE}.estimand.of", "`fool` is a variant of neither experiment"),
        ({f"{DENSE}.estimand.of": "reference"}, f"{DENSE}.estimand.of", "pattern"),
        ({f"{DENSE}.estimand.measure": "cIoU"}, f"{DENSE}.estimand.measure", "'gIoU'"),
        ({f"{DENSE}.estimand.kind": "guess"}, f"{DENSE}.estimand", "'difference'"),
        ({f"{DENSE}.rule.expects": "luck"}, f"{DENSE}.rule.expects", "'effect' or 'absence'"),
        ({f"{DENSE}.rule.smallest": 0.0}, f"{DENSE}.rule.smallest", "greater than 0"),
        ({f"{DENSE}.rule.twin": {"reference": "fool"}}, f"{DENSE}.rule.twin", "`fool` is a variant of neither experiment"),
        ({f"{DENSE}.rule.twin": {"full": "dense"}}, f"{DENSE}.rule.twin", "`full` is no variant of the estimand"),
        ({f"{DENSE}.rule.twin": {}}, f"{DENSE}.rule.twin", "`permuted`"),
        ({f"{DENSE}.rule.controls": ["mass"]}, f"{DENSE}.rule.controls", "only an edit of the battery"),
        ({f"{DENSE}.rule.population": "coco"}, f"{DENSE}.rule.population", "choose from all, refcoco"),
        ({f"{NAMED}.estimand.of": "random"}, f"{NAMED}.estimand.of", "no dictionary that is scored"),
        ({f"{GAP}.estimand.of": "full - seg_only"}, f"{GAP}.estimand.of", "`seg_only` is not evaluated with gold thoughts"),
        ({f"{CAUSE}.estimand.of": "full"}, f"{CAUSE}.estimand.of", "edits interfaces"),
        ({f"{CAUSE}.estimand.intervention": "surgery"}, f"{CAUSE}.estimand.intervention", "'curve'"),
        ({f"{CAUSE}.estimand.measure": "pain"}, f"{CAUSE}.estimand.measure", "curve has no `pain`; choose from score, iou"),
        ({f"{CAUSE}.estimand.over": "score"}, f"{CAUSE}.estimand.over", "must be null for the figure mean"),
        ({f"{CAUSE}.estimand.figure": "share"}, f"{CAUSE}.estimand.over", "name the second measure of the share"),
        (
            {"claims.about_use": ["sparse_beats_dense"]},
            "claims.about_use",
            "`sparse_beats_dense` is no stated claim that the battery decides",
        ),
        ({"claims.permutations": 19}, "claims.permutations", "greater than or equal to 20"),
        ({"claims.stated.state_of_the_art": OTHER}, "claims.untested.state_of_the_art", "one or the other"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, changes: dict, field: str, words: str) -> None:
    path = tmp_path / "smoke.yaml"
    stated = SMOKE["claims"]["stated"] | {"state_of_the_art": None} if "claims.stated.state_of_the_art" in changes else {}
    raw = changed(SMOKE, {"claims.stated": stated} if stated else {})
    path.write_text(yaml.safe_dump(changed(raw, changes), sort_keys=False))
    with pytest.raises(InputError, match=re.escape(f"{path}: {field}: ")) as refused:
        load_study(path)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({"stated.necessary.rule.smallest": 0.01}, {"necessary"}),
        ({"stated.necessary.sentence": "Concepts matter."}, {"necessary"}),
        ({"alpha": 0.1}, set(SMOKE["claims"]["stated"])),
        ({"imbalance": 2.0}, set(SMOKE["claims"]["stated"])),
        ({"permutations": 50}, set()),
        ({"about_use": ["necessary"]}, {"necessary"}),
        ({"untested": {}}, set()),
        # A claim that joins or leaves a family changes what its other tests are corrected for.
        ({"stated.necessary.rule.family": "dictionary"}, {"necessary", "sparse_beats_dense"}),
    ],
)
def test_a_digest_follows_its_rule_alone(changes: dict, reached: set[str]) -> None:
    before, after = rule_digests(section({})), rule_digests(section(changes))
    assert {name for name in before if before[name] != after[name]} == reached


@pytest.mark.parametrize("intervention", list(MEASURES))
def test_measures_are_those_that_the_battery_documents(intervention: str) -> None:
    """A claim may name what an intervention's module lists, and nothing else."""
    text = Path("segcompass", "causal", f"{intervention}.py").read_text(encoding="utf-8").split('"""')[1]
    assert [measure for measure in MEASURES[intervention] if f"`{measure}`" not in text] == []
