"""The stage reads what claims are decided by from artefacts, with the rules that stood when they were made."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from segcompass.causal.measurements import Balance, Measurement, write_measurements
from segcompass.claims.evidence import read_record
from segcompass.reporting.ledger import write_ledger
from segcompass.stages import judge_claims
from segcompass.study.claims import ClaimsSettings, rule_digests
from tests.claims.test_ledger import battery, difference, records, rule, section

LEVELS = {"reference": 0.1, "dense": 0.0}
CLAIMS = section(
    {
        "better": (difference("reference - dense"), rule(0.05)),
        "z_first": (difference("reference - dense"), rule(0.05, family="z")),
        "necessary": (battery(figure="mean", at="0.1", measure="removed_iou"), rule(0.1, family="f", controls=["mass"])),
        "named": ({"kind": "purity", "of": "topk", "metric": "auroc", "attribute": "colour"}, rule(0.05, family="g")),
    },
    permutations=20,
)


def artefact(folder: Path, wildcards: dict[str, str], rules: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"wildcards": wildcards, "rules": rules}))
    return folder


def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claims: ClaimsSettings, stood: dict[str, str]) -> pd.DataFrame:
    monkeypatch.setattr(judge_claims, "read_runs", lambda *_: records(LEVELS))
    given: dict[str, list[Path]] = {
        "evaluate": [],
        "battery": [],
        "concepts": [artefact(tmp_path / "concepts" / "topk", {"sae": "topk"}, stood)],
    }
    given["evaluate"] = [artefact(tmp_path / "evaluate" / name, {"variant": name, "seed": "0"}, stood) for name in LEVELS]
    for seed in (0, 1):
        folder = artefact(tmp_path / "battery" / str(seed), {"variant": "reference", "seed": str(seed)}, stood)
        rows = [
            Measurement(
                "curve", arm, "0.1", "removed_iou", "refcoco", "testA", f"s{i}", f"i{i // 2}", level + 0.01 * (i % 3) + 0.001 * seed
            )
            for i in range(40)
            for arm, level in (("matched", 0.5), ("top", 0.3))
        ]
        write_measurements(rows, [Balance("curve", "matched", "0.1", "mass", "visual", 1.05)], folder)
        given["battery"].append(folder)
    row = {"attribute": "colour", "value": "(mean)", "metric": "auroc", "difference": 0.2, "difference_low": 0.1, "difference_high": 0.3}
    row |= {"shuffled": 0.5, "shuffled_low": 0.48, "shuffled_high": 0.52}
    row |= {"shuffled_difference": 0.4, "shuffled_difference_low": 0.3, "shuffled_difference_high": 0.5}
    pd.DataFrame([row]).to_csv(given["concepts"][0] / "purity.csv", index=False)
    frozen = json.loads(json.dumps(claims.model_dump(mode="json"), sort_keys=True))
    params = {"claims": frozen, "order": [*claims.stated, *claims.untested], "runs": [], "splits": {}, "permutations": 99, "seed": 0}
    params |= {"controls": {}, "repeats": {}}
    (tmp_path / "out").mkdir()
    stage = SimpleNamespace(collections=given, params=params, folder=tmp_path / "out", rows={})
    judge_claims.work(stage)  # type: ignore[arg-type]
    assert stage.rows == {"claims": 5}
    return pd.read_csv(tmp_path / "out" / "claims.csv").set_index("claim")


def test_claims_are_judged_from_artefacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(tmp_path, monkeypatch, CLAIMS, rule_digests(CLAIMS))
    assert list(found.index) == [*CLAIMS.stated, "art"], "in the study file's order, which frozen keys have lost"
    write_ledger(CLAIMS, read_record(tmp_path / "out"), tmp_path)
    for name in ("claims.csv", "claims.md", "false_positives.csv", "metric_audit.csv"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), "decided again from the record: the same bytes"
    assert dict(found["verdict"]) == {
        "better": "supported",
        "z_first": "supported",
        "necessary": "supported",
        "named": "supported",
        "art": "not tested",
    }
    assert found.loc["necessary", "estimate"] == pytest.approx(0.2) and found.loc["named", "twin_estimate"] == 0.0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    tables = {f"{name}.{ending}" for name in ("claims", "false_positives", "metric_audit") for ending in ("csv", "md", "tex", "html")}
    assert files == tables | {"records.json", "records.npz"}
    record = read_record(tmp_path / "out").claims
    assert set(record["better"].rules) == {(tmp_path / "evaluate" / name).as_posix() for name in LEVELS}
    assert set(record["named"].rules) == {(tmp_path / "concepts" / "topk").as_posix()} and len(record["necessary"].rules) == 2


def test_artefacts_without_rules_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(tmp_path, monkeypatch, CLAIMS, {})
    assert set(found.loc[["better", "necessary", "named"], "verdict"]) == {"invalid"}
    assert found.loc["better", "reason"].startswith("the rule was written or changed after the result")
