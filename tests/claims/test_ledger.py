"""The whole way from records to verdicts on studies whose effects are known, and the ledger's own rate of errors."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from segcompass.claims.audit import audited, failure
from segcompass.claims.evidence import LedgerRecord, read_record, write_record
from segcompass.claims.ledger import Entry, false_positives, judged
from segcompass.claims.sources import Sources
from segcompass.reporting.metric_audit import audit_table
from segcompass.study.claims import ClaimsSettings, rule_digests
from segcompass.study.repeated import Repeats

SEEDS, IMAGES, EACH = 3, 60, 2
N = IMAGES * EACH
LEVEL = 0.95


def section(stated: dict[str, Any], **limits: Any) -> ClaimsSettings:
    """A section of claims; each is `(estimand, rule)`."""
    full = {
        name: {"sentence": f"{name}.", "source": "section 1", "estimand": estimand, "rule": rule}
        for name, (estimand, rule) in stated.items()
    }
    base = {"alpha": 0.05, "imbalance": 1.25, "variation": 0.4, "about_use": [], "permutations": 100}
    untested = {"art": {"sentence": "The best.", "source": "Table 1", "reason": "No photographs."}}
    return ClaimsSettings.model_validate_json(json.dumps(base | limits | {"stated": full, "untested": untested}))


def rule(smallest: float = 0.02, **more: Any) -> dict[str, Any]:
    base = {"population": "all", "expects": "effect", "smallest": smallest, "family": "parts", "twin": "permuted", "controls": []}
    return base | more


def difference(of: str) -> dict[str, Any]:
    return {"kind": "difference", "of": of, "measure": "gIoU"}


def records(levels: dict[str, float]) -> pd.DataFrame:
    """Runs whose IoU is an image's own level, what the variant adds, and little noise; val is shifted by 0.5, and may not count."""
    generator = np.random.default_rng(0)
    hard = np.repeat(generator.uniform(0.3, 0.6, IMAGES), EACH)
    frames = []
    for variant, level in levels.items():
        for seed in range(SEEDS):
            iou = hard + level + generator.normal(0, 0.004) + generator.normal(0, 0.02, N)
            frame = pd.DataFrame({"sample_id": [f"s{i:03d}" for i in range(N)], "image": [f"i{i // EACH}" for i in range(N)], "iou": iou})
            frame = frame.assign(variant=variant, seed=seed, benchmark="refcoco", split="testA", truth_area=100, predicted_area=100)
            frame["intersection"] = 100 * iou
            frame["heat_iou"] = iou + generator.normal(0, 0.05, N)
            for name in ("sae_mse", "random_sae_mse", "coverage", "random_coverage", "random_token_coverage"):
                frame[name] = generator.random(N)
            frame = frame.assign(n_targets=1, text_length=3, thought_correct=1.0, oracle_thought_iou=np.minimum(iou + 0.2, 1))
            val = frame.assign(split="val", iou=frame["iou"] + 0.5 * (variant == "reference"))
            frames += [frame, val]
    return pd.concat(frames, ignore_index=True)


def curves(effects: dict[tuple[str, str], float]) -> pd.DataFrame:
    """Measurements of a curve: (variant, arm) -> the level of its IoU, at sizes 1, 2 and 4."""
    generator = np.random.default_rng(1)
    rows = []
    for (variant, arm), level in effects.items():
        for seed in range(SEEDS):
            for i in range(N):
                for at in ("1", "2", "4"):
                    place = ("curve", arm, at, "iou", "refcoco", "testA", f"s{i:03d}", f"i{i // EACH}")
                    rows.append((variant, seed, *place, 0.4 + level + generator.normal(0, 0.02)))
    columns = ["variant", "seed", "intervention", "arm", "at", "measure", "benchmark", "split", "sample_id", "image", "value"]
    return pd.DataFrame(rows, columns=columns)


BALANCE = pd.DataFrame(
    [
        ("reference", 0, "curve", "matched", at, quantity, kind, ratio * (1.0 if at == "2" else 1.1))
        for quantity, ratio in (("mass", 1.1), ("frequency", 2.9))
        for kind in ("visual", "thought")
        for at in ("2", "4")
    ],
    columns=["variant", "seed", "intervention", "arm", "at", "quantity", "token_type", "ratio"],
)
LEVELS = {"reference": 0.1, "dense": 0.0, "alike": 0.1, "null_reference": 0.0, "null_dense": 0.0, "loud_null": 0.05, "gold": 0.0}


def study(claims: ClaimsSettings, rules: dict[str, str] | None = None, **parts: Any) -> LedgerRecord:
    stood = rule_digests(claims) if rules is None else rules
    known = {("evaluate", name): {f"results/x/{name}": stood} for name in LEVELS} | {("battery", "reference"): {"results/x/b": stood}}
    given = {"records": records(LEVELS), "measurements": curves({("reference", "matched"): 0.2, ("reference", "top"): 0.0})}
    given |= {"balances": BALANCE, "purity": pd.DataFrame(), "rules": known, "level": LEVEL, "permutations": 400, "twins": 100, "seed": 0}
    sources = Sources(**(given | parts))
    made = {name: sources.record(name, claim) for name, claim in claims.stated.items()}
    return LedgerRecord(made, audited(claims.stated, sources, {}, claims.variation))


def by_name(entries: list[Entry]) -> dict[str, Entry]:
    return {entry.claim: entry for entry in entries}


def battery(**more: Any) -> dict[str, Any]:
    base = {"kind": "battery", "of": "reference", "intervention": "curve", "figure": "area", "measure": "iou", "over": None, "at": None}
    return base | {"arm": "matched", "control": "top"} | more


HEAT = {"kind": "correlation", "of": "reference", "coefficient": "spearman", "quality": "heat_iou", "accuracy": "iou"}
CLAIMS = section(
    {
        "true": (difference("reference - dense"), rule(0.05)),
        "false": (difference("alike - reference"), rule(0.05)),
        "absent": (difference("alike - reference"), rule(0.05, expects="absence")),
        "present": (difference("reference - dense"), rule(0.05, expects="absence")),
        "open": (difference("reference - dense"), rule(0.0999)),
        "twinned": (difference("reference - dense"), rule(0.05, twin={"reference": "null_reference", "dense": "null_dense"}, family="b")),
        "loud": (difference("reference - dense"), rule(0.05, twin={"reference": "loud_null", "dense": "null_dense"}, family="c")),
        "gap": ({"kind": "gap_share", "of": "reference - dense"}, rule(0.3, family="d")),
        "goes_with": (HEAT, rule(0.1, family="e", twin={"reference": "null_reference"})),
        "necessary": (battery(), rule(0.1, family="f", controls=["mass"])),
        "unbalanced": (battery(), rule(0.1, family="f", controls=["frequency"])),
        "unknown_balance": (battery(), rule(0.1, family="f", controls=["norm"])),
        "at_one_size": (battery(at="2", figure="mean"), rule(0.1, family="f", controls=["mass"])),
        "unmeasured": (battery(intervention="dose", at="2"), rule(0.1, family="f")),
    },
    permutations=100,
)


@pytest.fixture(scope="module")
def record() -> LedgerRecord:
    return study(CLAIMS)


def test_known_effects_have_their_verdicts(record: LedgerRecord) -> None:
    found = by_name(judged(CLAIMS, record))
    outcomes = {name: entry.outcome for name, entry in found.items()}
    assert outcomes == {
        "true": "supported",
        "false": "refuted",
        "absent": "supported",
        "present": "refuted",
        "open": "undecided",  # 0.1 with an interval that spans it
        "twinned": "supported",
        "loud": "invalid",
        "gap": "supported",  # 0.1 of 0.2
        "goes_with": "invalid",  # heat maps of its twin, too, go with masks
        "necessary": "supported",
        "unbalanced": "invalid",
        "unknown_balance": "invalid",
        "at_one_size": "supported",
        "unmeasured": "undecided",
        "art": "not tested",
    }
    assert found["true"].effect is not None and found["true"].effect.estimate == pytest.approx(0.1, abs=0.01), "val does not count"
    assert found["necessary"].effect is not None and found["necessary"].effect.estimate == pytest.approx(0.2, abs=0.01)
    assert found["gap"].effect is not None and found["gap"].effect.estimate == pytest.approx(0.5, abs=0.06)
    assert "null twin shows" in found["loud"].reason and "frequency on thought tokens is 3.04" in found["unbalanced"].reason
    balances = {name: record.claims[name].balance["mass on thought tokens"] for name in ("necessary", "at_one_size")}
    assert balances == {"necessary": pytest.approx(1.1 * 1.1**0.5), "at_one_size": pytest.approx(1.1)}
    assert found["unmeasured"].reason == "no run of reference measured `iou` under dose, matched"
    assert found["art"].reason == "No photographs."


def test_a_family_is_corrected_together_and_its_twins_too(record: LedgerRecord) -> None:
    found = by_name(judged(CLAIMS, record))
    for name in ("true", "present"):
        effect = found[name].effect
        assert effect is not None and effect.p_holm == pytest.approx(5 * effect.p), "the smallest p of the five of `parts`"
    lone = found["twinned"].twin
    assert lone is not None and lone.p_holm == lone.p and lone.low < 0 < lone.high


def test_a_rule_that_came_after_its_result_decides_nothing(record: LedgerRecord) -> None:
    stood = rule_digests(CLAIMS)
    late = study(CLAIMS, rules={name: digest for name, digest in stood.items() if name != "true"} | {"necessary": "another"})
    found = by_name(judged(CLAIMS, late))
    assert found["true"].outcome == "invalid" and found["true"].late
    assert found["true"].reason.startswith(
        "the rule was written or changed after the result that it decides (results/x/reference and 1 more)"
    )
    assert found["necessary"].outcome == "invalid" and found["absent"].outcome == "supported"
    # The rule is changed, nothing is run again: the ledger alone sees it, for the claim and, had it others, for its family.
    easier = section(
        {
            "true": (difference("reference - dense"), rule(0.01)),
            "gap": ({"kind": "gap_share", "of": "reference - dense"}, rule(0.3, family="d")),
        }
    )
    again = by_name(judged(easier, record))
    assert again["true"].outcome == "invalid" and again["gap"].outcome == "supported"
    assert by_name(judged(section({"new": (difference("reference - dense"), rule())}), record))["new"].outcome == "invalid"


def test_a_metric_that_fails_the_audit_decides_nothing(record: LedgerRecord) -> None:
    (necessary,) = (row for row in record.audit if "curve" in row["metric"] and "necessary" in row["claims"])
    assert necessary["fails"] == "" and necessary["variation"] < 0.05 and necessary["untrained"] is None
    failed = replace(record, audit=[necessary | {"variation": 0.9}])
    entry = by_name(judged(CLAIMS, failed))["necessary"]
    assert entry.outcome == "undecided" and "failed the audit" in entry.reason and "varies by 90% over seeds" in entry.reason
    measurements = curves({(v, arm): 0.2 * (arm == "matched") for v in ("reference", "random_sae") for arm in ("matched", "top")})
    claims = section({"necessary": (battery(), rule(0.1))})
    stood = {("battery", "reference"): {"results/x/b": rule_digests(claims)}}
    sources = Sources(records(LEVELS), measurements, BALANCE, pd.DataFrame(), stood, LEVEL, 400, 100, 0)
    (row,) = audited(claims.stated, sources, {"untrained": "random_sae"}, 0.4)
    assert "is not told from that of an untrained dictionary" in row["fails"] and abs(row["untrained"]) < 0.01


def test_an_untrained_dictionary_binds_what_is_said_of_learning_not_of_use() -> None:
    """Both dictionaries show the same effect, so it is no merit of training, but masks rely on these concepts."""
    measurements = curves({(v, arm): 0.2 * (arm == "matched") for v in ("reference", "random_sae") for arm in ("matched", "top")})
    outcomes = {}
    for name, use in (("learning", []), ("use", ["necessary"])):
        claims = section({"necessary": (battery(), rule(0.1))}, about_use=use)
        stood = {("battery", "reference"): {"results/x/b": rule_digests(claims)}}
        sources = Sources(records(LEVELS), measurements, BALANCE, pd.DataFrame(), stood, LEVEL, 400, 100, 0)
        record = LedgerRecord(
            {"necessary": sources.record("necessary", claims.stated["necessary"])},
            audited(claims.stated, sources, {"untrained": "random_sae"}, 0.4),
        )
        outcomes[name] = by_name(judged(claims, record))["necessary"].outcome
    assert outcomes == {"learning": "undecided", "use": "supported"}


def test_a_metric_must_repeat_over_dictionaries_and_grow_with_training() -> None:
    """Necessity of 0.05, 0.1 and 0.2 at three checkpoints; of 0.2, 0.1 and 0.3 over seeds, 50 % of their mean; and one that falls."""
    levels = {"reference": 0.2, "early": 0.05, "late": 0.1, "low": 0.1, "high": 0.3, "better_early": 0.25}
    measurements = curves({(v, arm): level * (arm == "matched") for v, level in levels.items() for arm in ("matched", "top")})
    claims = section({"necessary": (battery(), rule(0.05))})
    stood = {("battery", "reference"): {"results/x/b": rule_digests(claims)}}
    sources = Sources(records(LEVELS), measurements, BALANCE, pd.DataFrame(), stood, LEVEL, 400, 100, 0)

    def row(**variants: list[str]) -> dict[str, Any]:
        repeats: dict[str, Repeats] = {name: {"saes": list(names), "variants": [*names]} for name, names in variants.items()}
        (found,) = audited(claims.stated, sources, {}, 0.4, repeats)
        return found

    grown = row(checkpoints=["early", "late", "reference"])
    assert grown["checkpoints"] == pytest.approx([0.05, 0.1, 0.2], abs=0.01) and grown["order"] == 1 and grown["fails"] == ""
    assert grown["growth"] == pytest.approx(0.15, abs=0.01) and 0 < grown["growth_low"] < grown["growth"] < grown["growth_high"]
    assert "over_dictionaries" not in grown
    fallen = row(checkpoints=["better_early", "late", "reference"])
    assert "is not shown to grow with a dictionary's training (-0.05" in fallen["fails"]
    assert failure(fallen, 0.4, about_use=True) == "", "masks may rely on what training did not make"
    spread = row(seeds=["reference", "low", "high"])
    assert spread["over_dictionaries"] == pytest.approx(0.5, abs=0.03)
    assert "varies by 5" in spread["fails"] and "over dictionaries that differ by seed alone" in spread["fails"]
    assert "varies by 5" in failure(spread, 0.4, about_use=True)
    assert "checkpoints" not in row(checkpoints=["unread", "late", "reference"]), "an unmeasured one leaves the whole unknown"
    table, shown = audit_table(claims, [grown | spread])  # columns of a study that has both
    assert shown.loc[0, "over dictionaries"] == f"{100 * spread['over_dictionaries']:.1f} %"
    assert shown.loc[0, "over training"] == " → ".join(f"{value:.3f}" for value in grown["checkpoints"])
    assert "checkpoints" not in audit_table(claims, [row()])[0] and table.loc[0, "order"] == 1


def test_a_metric_is_audited_on_one_dictionary_though_a_difference_is_claimed_first() -> None:
    """The difference of two equal effects varies by far more than its mean; each of the two hardly varies."""
    measurements = curves({(v, arm): 0.2 * (arm == "matched") for v in ("reference", "early") for arm in ("matched", "top")})
    claims = section({"grown": (battery(of="reference - early"), rule(0.001)), "necessary": (battery(), rule(0.1))})
    sources = Sources(records(LEVELS), measurements, BALANCE, pd.DataFrame(), {}, LEVEL, 400, 100, 0)
    (row,) = audited(claims.stated, sources, {}, 0.4)
    assert row["claims"] == ["necessary", "grown"] and row["variation"] < 0.05 and row["fails"] == ""


def test_a_dictionary_s_error_is_better_where_it_is_lower() -> None:
    own = records(LEVELS)
    early = own[own["variant"] == "reference"].assign(variant="early", sae_mse=lambda frame: frame["sae_mse"] + 0.5)
    claims = section({"error": (HEAT | {"quality": "sae_mse", "accuracy": "dice_loss"}, rule(0.1))})
    sources = Sources(pd.concat([own, early]), curves({}), BALANCE, pd.DataFrame(), {}, LEVEL, 400, 100, 0)
    (row,) = audited(claims.stated, sources, {}, 10.0, {"checkpoints": {"saes": ["a", "b"], "variants": ["early", "reference"]}})
    assert row["growth"] == pytest.approx(0.5) and row["growth_low"] == pytest.approx(0.5) and row["order"] == 1


def test_the_record_comes_back_and_has_the_same_bytes(record: LedgerRecord, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_record(record, tmp_path / name)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert files[0] == files[1] and set(files[0]) == {"records.json", "records.npz"}
    back = read_record(tmp_path / "a")
    ours, theirs = by_name(judged(CLAIMS, record)), by_name(judged(CLAIMS, back))
    assert {name: entry.outcome for name, entry in ours.items()} == {name: entry.outcome for name, entry in theirs.items()}
    for name, entry in ours.items():
        if entry.effect is not None and not np.isnan(entry.effect.low):
            other = theirs[name].effect
            assert other is not None and other.low == pytest.approx(entry.effect.low, abs=1e-6)


def test_where_there_is_nothing_the_ledger_rarely_finds_something() -> None:
    """Six claims of no effect, labels exchanged: the family errs in 5 % at most, up to chance."""
    names = [f"v{i}" for i in range(7)]
    claims = section({f"c{i}": (difference(f"{a} - {b}"), rule(0.001)) for i, (a, b) in enumerate(pairwise(names))})
    known = {("evaluate", name): {"x": rule_digests(claims)} for name in names}
    empty = {"measurements": curves({}), "balances": BALANCE, "purity": pd.DataFrame(), "rules": known}
    record = study(claims, records=records(dict.fromkeys(names, 0.0)), **empty)
    (rate,) = false_positives(claims, record)
    assert rate.claims == 6 and rate.permutations == 100 and rate.rate <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)
    big = section({"c": (difference("reference - dense"), rule(0.05))})
    (rate,) = false_positives(big, study(big))
    assert rate.rate == 0.0, "an effect of 0.1, its labels exchanged, is none of 0.05"
