"""Correlations pool the runs of a variant, are corrected within it, and leave out what does not count."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from segcompass.concepts.across import across_rows
from segcompass.stages import correlate
from segcompass.stats.families import holm

IMAGES = np.repeat(np.arange(40), 3)


def run(variant: str, seed: int, slope: float, benchmark: str = "refcoco") -> pd.DataFrame:
    """120 expressions of 40 images; heat maps go with masks by `slope`, the untrained dictionary's qualities with nothing."""
    generator = np.random.default_rng([seed, len(variant)])
    heat = generator.random(len(IMAGES))
    frame = pd.DataFrame({"sample_id": [f"{benchmark}_{index:03d}" for index in range(len(IMAGES))], "image": [f"i{i}" for i in IMAGES]})
    frame = frame.assign(variant=variant, seed=seed, benchmark=benchmark, split="val", heat_iou=heat, thought_correct=np.nan, n_targets=1)
    frame["iou"] = np.clip(slope * heat + generator.random(len(IMAGES)), 0, 2) / 2
    for name in ("sae_mse", "random_sae_mse", "coverage", "random_coverage"):
        frame[name] = generator.random(len(IMAGES))
    frame["truth_area"] = generator.integers(100, 900, len(IMAGES))
    frame["text_length"] = generator.integers(2, 9, len(IMAGES))
    frame["predicted_area"] = frame["truth_area"]
    frame["intersection"] = (frame["iou"] * frame["truth_area"]).round()
    return frame.sample(frac=1, random_state=seed)  # the order of records says nothing


def correlated(records: pd.DataFrame, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> pd.DataFrame:
    monkeypatch.setattr(correlate, "read_runs", lambda *_: records)
    params = {"runs": [], "splits": {}, "bootstrap": {"level": 0.95, "seed": 0}, "correlation": {"permutations": 999} | more}
    stage = SimpleNamespace(collections={"evaluate": []}, params=params, folder=folder, rows={})
    correlate.work(stage)  # type: ignore[arg-type]
    return pd.read_csv(folder / "correlations.csv").set_index(["variant", "benchmark", "quality"])


def test_runs_of_a_variant_are_pooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run("full", seed, 1.0) for seed in range(3)]
    absent = run("full", 0, 1.0).assign(truth_area=0, sample_id=lambda frame: "absent" + frame["sample_id"])
    found = correlated(pd.concat([*runs, absent, run("dense", 0, 0.0)], ignore_index=True), tmp_path, monkeypatch)
    heat = found.loc[("full", "refcoco", "heat_iou")]
    assert heat["spearman"] == pytest.approx(np.mean([spearmanr(one["heat_iou"], one["iou"]).statistic for one in runs]))
    assert (heat["seeds"], heat["images"], heat["n"]) == (3, 40, 120), "expressions without a target are left out"
    assert heat["spearman_low"] < heat["spearman"] < heat["spearman_high"]
    assert heat["null_low"] < 0 < heat["null_high"] and heat["spearman_p"] == 0.001
    assert found.loc[("full", "all", "heat_iou"), "partial"] == pytest.approx(heat["partial"]), "one benchmark is all of them"
    assert found.loc[("dense", "all", "heat_iou"), "seeds"] == 1


def test_stars_come_after_correction_within_variant_and_coefficient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run(variant, seed, slope) for variant, slope in (("full", 1.0), ("dense", 0.0)) for seed in range(2)]
    found = correlated(pd.concat(runs, ignore_index=True), tmp_path, monkeypatch)
    for variant in ("full", "dense"):
        rows = found.loc[variant]
        assert len(rows) == 10, "five qualities, over all benchmarks and over one"
        for name in ("pearson", "spearman", "partial"):
            assert rows[f"{name}_p_holm"].to_numpy() == pytest.approx(holm(rows[f"{name}_p"].to_numpy()))
            assert (rows[f"{name}_starred"] == (rows[f"{name}_p_holm"] <= 0.05)).all()
    assert found.loc[("full", "all", "heat_iou"), "spearman_starred"] and not found.loc["dense", "spearman_starred"].any()


def test_sets_of_variants_are_correlated_where_the_study_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = pd.concat([run(name, seed, slope) for name, slope in (("a", 0.2), ("bb", 0.6), ("ccc", 1.0)) for seed in range(2)])
    correlated(runs, tmp_path, monkeypatch)
    assert not (tmp_path / "across.csv").exists()
    correlated(runs, tmp_path, monkeypatch, across=[{"name": "slopes", "variants": ["a", "bb", "ccc"]}])
    found = pd.read_csv(tmp_path / "across.csv")
    assert list(found["across"]) == ["slopes"] * 3 and list(found["quality"]) == ["heat_iou", "sae_mse", "coverage"]
    assert (found["variants"] == 3).all() and (found["seeds"] == 2).all() and found["spearman_p"].between(0, 1).all()


def test_across_runs_the_means_are_correlated_seed_by_seed() -> None:
    """Three variants whose mean quality rises with their accuracy, on levels of each seed that go the other way."""
    rows = []
    for seed, level in ((0, 0.0), (1, 5.0), (2, 10.0)):
        for variant, quality in (("a", 1.0), ("b", 2.0), ("c", 4.0)):
            for spread in (-0.5, 0.5):
                rows.append({"variant": variant, "seed": seed, "heat_iou": quality + level + spread, "iou": quality - 3 * level + spread})
    points = pd.DataFrame(rows).assign(sae_mse=1.0, dice_loss=lambda frame: -frame["iou"], coverage=lambda frame: -frame["heat_iou"])
    more = points[(points["variant"] == "a") & (points["seed"] == 0)].assign(seed=9)  # a seed that one variant alone has
    heat, error, coverage = across_rows(pd.concat([points, more]), "set", ["a", "b", "c"], 2000, 0.95, 0)
    assert (heat["across"], heat["variants"], heat["seeds"]) == ("set", 3, 3)
    assert heat["spearman"] == pytest.approx(1.0) and heat["pearson"] == pytest.approx(1.0) and coverage["spearman"] == pytest.approx(-1.0)
    assert heat["spearman_p"] == pytest.approx(2 / 6**3, abs=0.006), "of 6^3 ways to exchange, two are as far from 0"
    assert error["pearson"] == 0.0 and error["pearson_p"] == 1.0, "what does not vary goes with nothing"
    assert -1 < heat["spearman_null_low"] < 0 < heat["spearman_null_high"] < 1
