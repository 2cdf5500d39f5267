"""Writes Tables 1-4, the tables of controls and those of the concept space as CSV, Markdown and LaTeX."""

import json

from segcompass.protocols.records import read_runs
from segcompass.provenance.stage import Stage, run_stage
from segcompass.reporting import tables
from segcompass.reporting.concepts import read_scores
from segcompass.reporting.metrics import over_seeds, run_metrics

FLAGS = {
    "evaluate": "all artefacts of evaluate",
    "sae": "all artefacts of train_sae but the sweep's",
    "concepts": "all artefacts of score_concepts",
}


def work(stage: Stage) -> None:
    """Fills `<table>.csv`, `.md` and `.tex`."""
    records = read_runs(stage.collections["evaluate"], stage.params["runs"], stage.params["splits"])
    summary = over_seeds(run_metrics(records))
    metrics = {folder.name: json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in stage.collections["sae"]}
    made = [tables.table_1(summary), tables.table_2(summary), tables.table_3(summary), tables.table_4(summary)]
    made += [tables.controls(summary, records, stage.params["bootstrap"]), tables.dictionaries(metrics)]
    folders = stage.collections["concepts"]
    made += [tables.fidelity(read_scores(folders, "metrics")), tables.purity(read_scores(folders, "purity"))]
    for table in made:
        table.write(stage.folder)
        stage.rows[table.name] = len(table.rows)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("make_tables", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
