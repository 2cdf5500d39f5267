"""Correlates concept quality with mask accuracy over samples (Figure 8), beside untrained and shuffled controls.

A variant's runs are pooled: a coefficient is the mean over seeds of each run's own, its interval says what other seeds and other images
would give (with one seed: other images alone), its p-value comes from permuting whole images. Holm's correction goes over all rows of one
variant and coefficient. Expressions without a target are left out: concept quality is not defined for them. Sets of variants that the
study names are also correlated run by run (`segcompass.concepts.across`).
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from segcompass.concepts.accuracy import GIVEN, PAIRS, POINT, accuracy_points
from segcompass.concepts.across import across_rows
from segcompass.protocols.records import read_runs
from segcompass.provenance.stage import Stage, run_stage
from segcompass.stats.correlation import COEFFICIENTS, correlation, remainders
from segcompass.stats.families import holm
from segcompass.stats.permutation import null_twin

FLAGS = {"evaluate": "all artefacts of evaluate_interface and evaluate_joint whose records are correlated"}
POOLED = "all"


def work(stage: Stage) -> None:
    """Fills `correlations.csv` and `points.csv`, and `across.csv` where the study names variants to go across."""
    points = accuracy_points(read_runs(stage.collections["evaluate"], stage.params["runs"], stage.params["splits"]))[list(POINT)]
    tables = []
    for variant, of_variant in points.groupby("variant", sort=True):
        rows: list[dict[str, Any]] = []
        for benchmark, part in [(POOLED, of_variant), *of_variant.groupby("benchmark", sort=True)]:
            runs = [run.sort_values("sample_id") for _, run in part.groupby("seed", sort=True)]
            place = {"variant": variant, "benchmark": benchmark}
            for quality, accuracy, control in PAIRS:
                rows.append(place | _correlation(runs, quality, accuracy, "trained", stage))
                if control:
                    rows.append(place | _correlation(runs, control, accuracy, "untrained", stage))
        tables.append(_corrected(pd.DataFrame(rows), stage.params["bootstrap"]["level"]))
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(stage.folder / "correlations.csv", index=False, lineterminator="\n")
    points.to_csv(stage.folder / "points.csv", index=False, lineterminator="\n")
    stage.rows |= {"correlations": len(table), "points": len(points)}
    if sets := stage.params["correlation"].get("across"):
        chance = stage.params["correlation"]["permutations"], *(stage.params["bootstrap"][key] for key in ("level", "seed"))
        found = [row for own in sets for row in across_rows(points, own["name"], own["variants"], *chance)]
        pd.DataFrame(found).to_csv(stage.folder / "across.csv", index=False, lineterminator="\n")
        stage.rows["across"] = len(found)


def _correlation(runs: Sequence[pd.DataFrame], quality: str, accuracy: str, dictionary: str, stage: Stage) -> dict[str, Any]:
    level, seed = (stage.params["bootstrap"][key] for key in ("level", "seed"))
    images = runs[0]["image"].to_numpy()
    known = [name for name in GIVEN if all(run[name].notna().all() for run in runs)]
    row: dict[str, Any] = {"quality": quality, "accuracy": accuracy, "dictionary": dictionary}
    for name in COEFFICIENTS:
        made = [remainders(name, *(run[column].to_numpy(float) for column in (quality, accuracy, known))) for run in runs]
        found = correlation(made, images, level)
        null = null_twin(made, images, stage.params["correlation"]["permutations"], level, seed)
        row |= {"seeds": found.seeds, "n": found.samples, "images": found.images}
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high, f"{name}_p": null.p}
        if name == "spearman":
            row |= {"null_mean": null.mean, "null_low": null.low, "null_high": null.high}
    return row


def _corrected(table: pd.DataFrame, level: float) -> pd.DataFrame:
    for name in COEFFICIENTS:
        table[f"{name}_p_holm"] = holm(table[f"{name}_p"].to_numpy())
        table[f"{name}_starred"] = table[f"{name}_p_holm"] <= 1 - level
    return table


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("correlate", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
