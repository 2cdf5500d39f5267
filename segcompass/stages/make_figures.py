"""Draws the report's figures, each with the CSV it drew: active features (Figure 4), coverage (Figure 5), purity, the frontier, correlation
(Figure 8), necessity, qualitative samples, curves of warm-up and joint training, and validation."""

import json
from functools import partial

import numpy as np
import pandas as pd

from segcompass.datasets.artefact import data_root, manifest
from segcompass.datasets.files import read_image
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import read_samples
from segcompass.protocols.records import read_records
from segcompass.provenance.stage import Stage, run_stage
from segcompass.reporting.captions.read import captioned
from segcompass.reporting.concepts import ACTIVE, read_scores, sparse_only
from segcompass.reporting.figures.concepts import (
    active_features_figure,
    coverage_figure,
    frontier_figure,
    frontier_points,
    purity_figure,
)
from segcompass.reporting.figures.correlation import correlation_figure
from segcompass.reporting.figures.necessity import necessity_figure
from segcompass.reporting.figures.qualitative import Example, qualitative_figure
from segcompass.reporting.figures.save import keep_place, save_figure
from segcompass.reporting.figures.training import (
    PANELS,
    WARM_UP_PANELS,
    smoothed,
    training_figure,
    validation_figure,
    validation_means,
    warm_up_figure,
)

FLAGS = {
    "data": "artefact of prepare_data",
    "evaluate": "all artefacts of evaluate; samples are shown from the first",
    "joint": "all artefacts of train_joint",
    "intervene": "all artefacts of intervene; the first is drawn",
    "correlate": "artefact of correlate",
    "sae": "all artefacts of train_sae",
    "concepts": "all artefacts of score_concepts",
}


def work(stage: Stage) -> None:
    """Fills `<figure>.pdf`, `.png` and `.csv`."""
    _correlation(stage)
    summary = pd.read_csv(stage.collections["intervene"][0] / "summary.csv")
    save_figure(lambda: necessity_figure(summary), summary, stage.folder, "necessity")
    _qualitative(stage)
    # The paper's training has no warm-up, a study of lower bounds alone no curve at all.
    for name, curve, panels, draw in (
        ("warm_up", "warm_up", WARM_UP_PANELS, warm_up_figure),
        ("training", "curves", PANELS, training_figure),
    ):
        rows = _of_runs(stage, curve)
        if len(rows):
            drawn = smoothed(rows, panels)
            save_figure(partial(draw, drawn), drawn, stage.folder, name)
    validated = validation_means(_of_runs(stage, "validation"))
    save_figure(lambda: validation_figure(validated), validated, stage.folder, "validation")
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
    variant, seed = table.loc[0, ["variant", "seed"]]
    mine = points[(points["variant"] == variant) & (points["seed"] == seed)]
    pooled = table[(table["variant"] == variant) & (table["seed"] == seed) & (table["benchmark"] == "all")]
    save_figure(lambda: correlation_figure(mine, pooled), mine, stage.folder, "correlation")


def _qualitative(stage: Stage) -> None:
    benchmark, split = stage.params["report"]["qualitative_split"]
    count = stage.params["report"]["qualitative_samples"]
    folder = stage.collections["evaluate"][0] / benchmark / split
    records = read_records(folder / "records.csv").set_index("sample_id", drop=False)
    results = {row["sample_id"]: row for row in json.loads((folder / "predictions.json").read_text(encoding="utf-8"))}
    samples = {sample.sample_id: sample for sample in read_samples(manifest(stage.inputs["data"], benchmark, split))}
    with np.load(folder / "heatmaps.npz", allow_pickle=False) as heat:
        shown = heat.files[:count]
        examples = [
            Example(
                read_image(data_root(stage.inputs["data"]) / samples[name].image),
                samples[name].text,
                str(records.loc[name, "answer"]),
                decode(samples[name].target),
                heat[name],
                decode(results[name]["segmentation"]),
                float(str(records.loc[name, "iou"])),
            )
            for name in shown
        ]
    drawn = records.loc[shown, ["sample_id", "text", "answer", "iou", "heat_iou", "confidences"]]
    save_figure(lambda: qualitative_figure(examples), drawn, stage.folder, "qualitative")


def _of_runs(stage: Stage, name: str) -> pd.DataFrame:
    """The rows of one CSV of every run, one run below the other."""
    runs = zip(stage.collections["joint"], stage.params["runs"], strict=True)
    frames = [pd.read_csv(folder / f"{name}.csv").assign(variant=variant, seed=seed) for folder, (variant, seed) in runs]
    return pd.concat([frame for frame in frames if len(frame)] or [pd.DataFrame()], ignore_index=True)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("make_figures", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
