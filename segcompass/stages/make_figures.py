"""Draws the report's figures, each with the CSV it drew: effects of claims, counterfactual pairs, path shares, calibration of read-outs,
active features (Figure 4), coverage (Figure 5), purity, the frontier, correlation (Figure 8), curves of necessity and sufficiency,
qualitative samples, both trainings, validation."""

import json
from functools import partial

import numpy as np
import pandas as pd

from segcompass.causal.examples import read_examples
from segcompass.causal.measurements import read_measurements
from segcompass.datasets.artefact import manifest, sample_image
from segcompass.datasets.masks import Rle, decode
from segcompass.datasets.samples import Sample, read_samples
from segcompass.explain.names import names_of
from segcompass.protocols.records import read_records
from segcompass.provenance.stage import Stage, read_run, run_stage
from segcompass.reporting.calibration import calibration_points
from segcompass.reporting.captions.read import captioned
from segcompass.reporting.concepts import ACTIVE, read_scores, sparse_only
from segcompass.reporting.curves import curve_points
from segcompass.reporting.figures.calibration import calibration_figure
from segcompass.reporting.figures.claims import claims_figure, in_units
from segcompass.reporting.figures.concepts import (
    active_features_figure,
    coverage_figure,
    frontier_figure,
    frontier_points,
    purity_figure,
)
from segcompass.reporting.figures.correlation import correlation_figure
from segcompass.reporting.figures.curves import curves_figure
from segcompass.reporting.figures.pairs import pairs_figure
from segcompass.reporting.figures.paths import paths_figure
from segcompass.reporting.figures.qualitative import Example, qualitative_figure
from segcompass.reporting.figures.save import keep_place, save_figure
from segcompass.reporting.figures.training import (
    INTERFACE_PANELS,
    PANELS,
    interface_figure,
    smoothed,
    training_figure,
    validation_figure,
    validation_means,
)
from segcompass.reporting.pairs import pair_rows, shown_pairs
from segcompass.reporting.paths import path_shares
from segcompass.reporting.qualitative import chosen

FLAGS = {
    "data": "artefact of prepare_data",
    "evaluate": "all artefacts of evaluate_interface and evaluate_joint; samples are shown from the first",
    "interface": "all artefacts of train_interface",
    "joint": "all artefacts of train_joint",
    "intervene": "all artefacts of intervene; curves are drawn of the first variant that reads concepts",
    "correlate": "artefact of correlate",
    "exchange": "all artefacts of exchange; pairs are shown from the reference's first",
    "claims": "artefact of judge_claims",
    "sae": "all artefacts of train_sae",
    "concepts": "all artefacts of score_concepts",
}


def work(stage: Stage) -> None:
    """Fills `<figure>.pdf`, `.png` and `.csv`."""
    _correlation(stage)
    edited = read_measurements(stage.collections["intervene"])
    _curves(stage, edited)
    _calibration(stage, edited)
    _claims(stage)
    _pairs(stage)
    _paths(stage)
    _qualitative(stage)
    reference = stage.params["references"]
    interface, curves = _of_runs(stage, "interface", "curves"), _of_runs(stage, "signals", "curves")
    if len(interface):  # none is trained where every interface stays as it was drawn
        heat_maps = interface["phase"] == "heat_maps"  # a study may begin with masks at once
        drawn = smoothed(interface[heat_maps] if heat_maps.any() else interface, INTERFACE_PANELS)
        save_figure(partial(interface_figure, drawn, reference["interface"]), drawn, stage.folder, "interface")
    drawn = smoothed(curves, PANELS)
    save_figure(partial(training_figure, drawn, reference["signals"]), drawn, stage.folder, "training")
    validated = validation_means(_of_runs(stage, "signals", "validation"))
    save_figure(lambda: validation_figure(validated, reference["signals"]), validated, stage.folder, "validation")
    _concepts(stage)
    stage.rows["figures"] = len(list(stage.folder.glob("*.png")))
    # Snakemake expects every figure that has a caption.
    for name in captioned("figure"):
        if not (stage.folder / f"{name}.png").is_file():
            keep_place(stage.folder, name)


def _concepts(stage: Stage) -> None:
    saes, folders = stage.params["saes"], stage.collections["concepts"]
    metrics = {folder.name: json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in stage.collections["sae"]}
    points = frontier_points(metrics, saes)
    save_figure(lambda: frontier_figure(points), points, stage.folder, "frontier")
    scores, purity = read_scores(folders, "metrics"), read_scores(folders, "purity")
    active = sparse_only(scores[(scores["metric"] == "l0") & scores["token_type"].isin(ACTIVE)], saes)
    save_figure(lambda: active_features_figure(active), active, stage.folder, "active_features")
    coverage = sparse_only(read_scores(folders, "coverage"), saes)
    save_figure(lambda: coverage_figure(coverage), coverage, stage.folder, "coverage")
    shown = purity[(purity["metric"] == "auroc") & purity["attribute"].isin(["colour", "shape"]) & (purity["value"] != "(mean)")]
    if len(shown):  # photographs have no attributes
        save_figure(lambda: purity_figure(shown), shown, stage.folder, "purity")


def _correlation(stage: Stage) -> None:
    folder = stage.inputs["correlate"]
    points, table = (pd.read_csv(folder / name) for name in ("points.csv", "correlations.csv"))
    variant, seed = points.loc[0, ["variant", "seed"]]
    mine = points[(points["variant"] == variant) & (points["seed"] == seed)]
    pooled = table[(table["variant"] == variant) & (table["benchmark"] == "all")]
    save_figure(lambda: correlation_figure(mine, pooled), mine, stage.folder, "correlation")


def _claims(stage: Stage) -> None:
    drawn = in_units(pd.read_csv(stage.inputs["claims"] / "claims.csv"))
    if len(drawn):
        save_figure(lambda: claims_figure(drawn), drawn, stage.folder, "claims")


def _paths(stage: Stage) -> None:
    shares = path_shares(read_measurements(stage.collections["exchange"]), stage.params["bootstrap"]["level"])
    if len(shares):
        save_figure(lambda: paths_figure(shares), shares, stage.folder, "paths")


def _pairs(stage: Stage) -> None:
    reference = stage.params["references"]["interface"]
    runs = [folder for folder in stage.collections["exchange"] if read_run(folder)["wildcards"]["variant"] == reference]
    examples, features = read_examples(runs[0]) if runs else ([], 0)
    if examples:  # photographs have no pairs
        named = next((folder for folder in stage.collections["concepts"] if folder.name == stage.params["dictionary"]), None)
        pairs = shown_pairs(stage.inputs["data"], examples, names_of(named, features))
        save_figure(lambda: pairs_figure(pairs), pair_rows(examples, pairs), stage.folder, "pairs")


def _calibration(stage: Stage, measurements: pd.DataFrame) -> None:
    readouts, settings = stage.params["readouts"], stage.params["report"]["calibration"]
    level = stage.params["bootstrap"]["level"]
    points = calibration_points(measurements, [variant for variant, _ in readouts], settings["bins"], settings["tolerance"], level)
    if len(points):
        save_figure(lambda: calibration_figure(points, readouts, settings["tolerance"]), points, stage.folder, "calibration")


def _curves(stage: Stage, measurements: pd.DataFrame) -> None:
    """Of the ablation that most samples were edited by; the CSV holds the points of every variant and ablation."""
    points = curve_points(measurements, stage.params["bootstrap"]["level"])
    if len(points):  # interfaces that read words or references have none
        drawn = points[points["variant"] == points.loc[0, "variant"]]
        drawn = drawn[drawn["ablation"] == drawn.groupby("ablation")["samples"].max().idxmax()]
        save_figure(lambda: curves_figure(drawn), points, stage.folder, "curves")


def _qualitative(stage: Stage) -> None:
    run = stage.collections["evaluate"][0]
    records: list[pd.DataFrame] = []
    samples: dict[tuple[str, str, str], Sample] = {}
    results: dict[tuple[str, str, str], Rle] = {}
    heat: dict[tuple[str, str, str], np.ndarray] = {}
    for benchmark, split in stage.params["report"]["qualitative_splits"]:
        folder = run / benchmark / split
        with np.load(folder / "heatmaps.npz", allow_pickle=False) as kept:
            heat |= {(benchmark, split, name): kept[name] for name in kept.files}
        rows = read_records(folder / "records.csv")
        records.append(rows.assign(kept=[(benchmark, split, name) in heat for name in rows["sample_id"]]))
        read = read_samples(manifest(stage.inputs["data"], benchmark, split))
        samples |= {(benchmark, split, sample.sample_id): sample for sample in read}
        listed = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
        results |= {(benchmark, split, row["sample_id"]): row["segmentation"] for row in listed}
    shown = chosen(pd.concat(records, ignore_index=True), stage.params["report"]["qualitative_samples"])
    examples = []
    for row in shown.to_dict("records"):
        key = row["benchmark"], row["split"], row["sample_id"]
        sample = samples[key]
        examples.append(
            Example(
                f"{row['kind']}, {row['which']}",
                sample_image(stage.inputs["data"], sample),
                sample.text,
                str(row["answer"]),
                decode(sample.target),
                heat.get(key),
                decode(results[key]),
                float(row["iou"]),
            )
        )
    columns = ["kind", "which", "benchmark", "split", "sample_id", "text", "answer", "iou", "heat_iou", "confidences"]
    save_figure(lambda: qualitative_figure(examples), shown[columns], stage.folder, "qualitative")


def _of_runs(stage: Stage, experiment: str, name: str) -> pd.DataFrame:
    """The rows of one CSV of every run of an experiment, one run below the other."""
    folders = stage.collections["interface" if experiment == "interface" else "joint"]
    runs = [(variant, seed) for of, variant, seed in stage.params["runs"] if of == experiment]
    frames = [
        pd.read_csv(folder / f"{name}.csv").assign(variant=variant, seed=seed)
        for folder, (variant, seed) in zip(folders, runs, strict=True)
    ]
    return pd.concat([frame for frame in frames if len(frame)] or [pd.DataFrame()], ignore_index=True)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("make_figures", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
