"""Writes the paper's tables, the numbers of Figure 6, what each variant trains, bounds, families of tests, areas of the curves of necessity
and sufficiency, and tables of the concept space.

Each as CSV, Markdown, LaTeX and HTML. Seconds per phase of training stand in `run.json`, because tables are the same bytes in every run.
"""

import json
from collections.abc import Mapping
from typing import Any

from segcompass.causal.measurements import read_measurements
from segcompass.claims.contrasts import Contrasts, tested_expressions
from segcompass.protocols.records import read_runs
from segcompass.provenance.stage import Stage, read_run, run_stage
from segcompass.reporting import comparisons, tables
from segcompass.reporting.concepts import read_scores
from segcompass.reporting.faithfulness import faithfulness_table
from segcompass.reporting.metrics import over_seeds, run_metrics
from segcompass.reporting.phases import phase_shares
from segcompass.stats.families import result_table

FLAGS = {
    "evaluate": "all artefacts of evaluate_interface and evaluate_joint",
    "interface": "all artefacts of train_interface",
    "joint": "all artefacts of train_joint",
    "intervene": "all artefacts of intervene",
    "sae": "all artefacts of train_sae but the sweep's",
    "concepts": "all artefacts of score_concepts",
}


def work(stage: Stage) -> None:
    """Fills `<table>.csv`, `.md`, `.tex` and `.html`, and `tests.csv`, one row a test of every family."""
    params = stage.params
    level = params["bootstrap"]["level"]
    records = read_runs(stage.collections["evaluate"], params["runs"], params["splits"])
    summary = over_seeds(run_metrics(records))
    metrics = {folder.name: json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in stage.collections["sae"]}
    interface, signals = (tables.Experiment(**params["experiments"][name]) for name in ("interface", "signals"))
    made = [tables.table_1(summary), tables.table_2(summary), tables.table_3(summary), tables.table_4(summary, signals)]
    made += [tables.table_5(summary, interface), tables.table_6(summary, signals), tables.figure_6(summary, signals)]
    trained = {name: [read_run(folder) for folder in stage.collections[name]] for name in ("interface", "joint")}
    one_each = ({run["wildcards"]["variant"]: run for run in reversed(runs)} for runs in trained.values())
    made.append(tables.trained_parameters(*one_each))
    untrained = next((name for name in interface.variants if _never_trained(interface.variants[name])), None)
    made += [comparisons.bounds(summary, interface.reference, untrained), comparisons.variants(summary)]
    contrasts = Contrasts(tested_expressions(records))
    results = comparisons.tested_families(contrasts, params["families"], level)
    measures = {name: family["measure"] for name, family in params["families"].items()}
    made.append(comparisons.families_table(results, measures, level))
    made.append(comparisons.reinforcement(contrasts, [tuple(pair.split(" - ")) for pair in params["reinforcement"]], level))
    made.append(faithfulness_table(read_measurements(stage.collections["intervene"]), level))
    made.append(tables.dictionaries(metrics))
    folders = stage.collections["concepts"]
    made += [tables.fidelity(read_scores(folders, "metrics")), tables.purity(read_scores(folders, "purity"))]
    for table in made:
        table.write(stage.folder)
        stage.rows[table.name] = len(table.rows)
    result_table(results).to_csv(stage.folder / "tests.csv", index=False, lineterminator="\n")
    stage.facts["seconds_per_phase"] = phase_shares(trained["interface"] + trained["joint"])


def _never_trained(settings: Mapping[str, Any]) -> bool:
    return not any(settings["training"][phase]["steps"] for phase in ("heat_maps", "masks"))


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("make_tables", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
