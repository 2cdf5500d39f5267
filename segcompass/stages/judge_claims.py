"""Judges the study's claims: audits the metrics that decide them, keeps the records that verdicts follow from, and writes the ledger.

Verdicts are formed from the records alone, as `segcompass claims` does it again: what cannot be kept cannot decide.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from segcompass.causal.measurements import read_balances, read_measurements
from segcompass.claims.audit import audited
from segcompass.claims.evidence import LedgerRecord, read_record, write_record
from segcompass.claims.sources import Rules, Sources
from segcompass.protocols.records import read_runs
from segcompass.provenance.stage import Stage, read_run, run_stage
from segcompass.reporting.concepts import read_scores
from segcompass.reporting.ledger import write_ledger
from segcompass.study.claims import ClaimsSettings

FLAGS = {
    "evaluate": "all artefacts of evaluate_interface and evaluate_joint",
    "battery": "all artefacts of intervene and exchange",
    "concepts": "all artefacts of score_concepts",
}
NAMED_BY = {"evaluate": "variant", "battery": "variant", "concepts": "sae"}
"""Kind of evidence -> the wildcard that says whose it is."""


def work(stage: Stage) -> None:
    """Fills `records.json` and `records.npz`, and `claims`, `false_positives` and `metric_audit` as tables."""
    params = stage.params
    given = stage.collections
    claims = ClaimsSettings.model_validate_json(json.dumps(params["claims"])).in_order(params["order"])
    sources = Sources(
        read_runs(given["evaluate"], params["runs"], params["splits"]),
        read_measurements(given["battery"]),
        read_balances(given["battery"]),
        read_scores(given["concepts"], "purity"),
        recorded_rules(given),
        1 - claims.alpha,
        params["permutations"],
        claims.permutations,
        params["seed"],
    )
    records = {name: sources.record(name, claim) for name, claim in claims.stated.items()}
    audit = audited(claims.stated, sources, params["controls"], claims.variation, params["repeats"])
    write_record(LedgerRecord(records, audit), stage.folder)
    write_ledger(claims, read_record(stage.folder), stage.folder)
    stage.rows["claims"] = len(claims.stated) + len(claims.untested)


def recorded_rules(given: dict[str, list[Path]]) -> dict[tuple[str, str], dict[str, Rules]]:
    """(kind of evidence, variant or dictionary) -> artefact -> the rules that stood when it was made."""
    found: dict[tuple[str, str], dict[str, Rules]] = {}
    for kind, name in NAMED_BY.items():
        folders: Sequence[Path] = given[kind]
        for folder in folders:
            run = read_run(folder)
            found.setdefault((kind, run["wildcards"][name]), {})[folder.as_posix()] = run.get("rules", {})
    return found


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("judge_claims", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
