"""Writes the paper's tables, the numbers of Figure 6, what each variant trains, and tables of bounds, variants and the concept space.

Each as CSV, Markdown, LaTeX and HTML. Seconds per phase of training stand in `run.json`, because tables are the same bytes in every run.
"""

import json

import pandas as pd

from segcompass.protocols.records import read_runs
from segcompass.provenance.stage import Stage, read_run, run_stage
from segcompass.reporting import comparisons, tables
from segcompass.reporting.concepts import read_scores
from segcompass.reporting.metrics import over_seeds, run_metrics
from segcompass.reporting.phases import phase_shares

FLAGS = {
    "evaluate": "all artefacts of evaluate",
    "joint": "all artefacts of train_joint",
    "sae": "all artefacts of train_sae but the sweep's",
    "concepts": "all artefacts of score_concepts",
}


def work(stage: Stage) -> None:
    """Fills `<table>.csv`, `.md`, `.tex` and `.html`."""
    records = read_runs(stage.collections["evaluate"], stage.params["runs"], stage.params["splits"])
    summary = over_seeds(run_metrics(records))
    metrics = {folder.name: json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in stage.collections["sae"]}
    made = [tables.table_1(summary), tables.table_2(summary), tables.table_3(summary), tables.table_4(summary)]
    joint = [read_run(folder) for folder in stage.collections["joint"]]
    runs = {run["wildcards"]["variant"]: run for run in reversed(joint)}
    settings = {variant: runs[variant]["params"]["joint"] for variant, _ in stage.params["runs"]}
    made += [tables.table_6(summary, settings), tables.figure_6(summary, settings)]
    warm_up = {folder.parent.name: len(pd.read_csv(folder / "warm_up.csv")) for folder in stage.collections["joint"]}
    made.append(tables.trained_parameters({variant: runs[variant] for variant in settings}, warm_up))
    bootstrap = stage.params["bootstrap"]
    made += [comparisons.bounds(summary, settings), comparisons.differences(records, bootstrap)]
    made += [comparisons.variants(summary, records, bootstrap), comparisons.reinforcement(records, settings, bootstrap)]
    made.append(tables.dictionaries(metrics))
    folders = stage.collections["concepts"]
    made += [tables.fidelity(read_scores(folders, "metrics")), tables.purity(read_scores(folders, "purity"))]
    for table in made:
        table.write(stage.folder)
        stage.rows[table.name] = len(table.rows)
    stage.facts["seconds_per_phase"] = phase_shares(joint)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("make_tables", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
