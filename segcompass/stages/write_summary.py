"""Checks that every artefact agrees with the study file, then writes `numbers.json`, its headline `metrics.json`, the report's front page
`summary.md`, and `details.md` behind it."""

import json
from pathlib import Path

import pandas as pd

from segcompass.concepts.across import COLUMNS as ACROSS
from segcompass.protocols.records import read_runs
from segcompass.provenance.stage import Stage, read_run, run_stage
from segcompass.provenance.verify import verify_artefacts
from segcompass.reporting.concepts import read_scores
from segcompass.reporting.curves import COLUMNS
from segcompass.reporting.front_page import counted, front_page
from segcompass.reporting.headline import headline
from segcompass.reporting.metrics import over_seeds, run_metrics
from segcompass.reporting.numbers import study_numbers
from segcompass.reporting.summary import COMPARISONS, details_page

LEDGER = ("claims", "false_positives", "metric_audit")
FLAGS = {"artefacts": "all artefacts of the study"}


def work(stage: Stage) -> None:
    """Fills `numbers.json`, `metrics.json`, `summary.md` and `details.md`."""
    folders = stage.collections["artefacts"]
    verify_artefacts(folders, stage.params["expected"])
    made_by: dict[str, list[Path]] = {}
    for folder in folders:
        made_by.setdefault(read_run(folder)["stage"], []).append(folder)
    records = read_runs(made_by["evaluate_interface"] + made_by["evaluate_joint"], stage.params["runs"], stage.params["splits"])
    correlations = pd.read_csv(made_by["correlate"][0] / "correlations.csv")
    between = made_by["correlate"][0] / "across.csv"
    across = pd.read_csv(between) if between.is_file() else pd.DataFrame(columns=ACROSS)
    dictionaries = {sae.name: json.loads((sae / "metrics.json").read_text(encoding="utf-8")) for sae in made_by["train_sae"]}
    scores = {name: read_scores(made_by["score_concepts"], name) for name in ("metrics", "purity", "coverage")}
    tables, figures = made_by["make_tables"][0], made_by["make_figures"][0]
    curves = pd.read_csv(figures / "curves.csv") if (figures / "curves.csv").is_file() else pd.DataFrame(columns=COLUMNS)
    comparisons = {name: pd.read_csv(tables / f"{name}.csv") for name in COMPARISONS}
    ledger = {name: pd.read_csv(made_by["judge_claims"][0] / f"{name}.csv") for name in LEDGER}
    found = correlations, curves, dictionaries, scores["metrics"], scores["purity"], comparisons, ledger, across
    study, runs = stage.params["study"], stage.params["runs"]
    numbers = {"runs": counted(runs)} | study_numbers(over_seeds(run_metrics(records)), *found)
    for name, values in (("numbers", numbers), ("metrics", headline(numbers))):
        (stage.folder / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    pages = {"summary": front_page(study, runs, ledger, figures)}
    pages["details"] = details_page(study, runs, correlations, across, curves, scores, figures)
    for name, page in pages.items():
        (stage.folder / f"{name}.md").write_text(page, encoding="utf-8")
    stage.rows["artefacts"] = len(folders)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("write_summary", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
