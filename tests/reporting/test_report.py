"""Tables hold the right numbers in every format, figures the same bytes, the summary says what the numbers say."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segcompass.protocols.records import COLUMNS
from segcompass.reporting import comparisons, tables
from segcompass.reporting.calibration import calibration_points
from segcompass.reporting.captions.read import captioned
from segcompass.reporting.concepts import blind_sentence, purity_sentence, sparse_only
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
from segcompass.reporting.figures.overlays import heat_overlay, overlay
from segcompass.reporting.figures.pairs import Outcome, Pair, Side, pairs_figure
from segcompass.reporting.figures.qualitative import Example, qualitative_figure
from segcompass.reporting.figures.save import save_figure
from segcompass.reporting.figures.training import (
    INTERFACE_PANELS,
    PANELS,
    VALIDATION_PANELS,
    interface_figure,
    smoothed,
    training_figure,
    validation_figure,
    validation_means,
)
from segcompass.reporting.front_page import front_page
from segcompass.reporting.metrics import ORACLE, over_seeds, run_metrics
from segcompass.reporting.numbers import study_numbers
from segcompass.reporting.palette import colours
from segcompass.reporting.phases import phase_shares
from segcompass.reporting.summary import correlation_sentence, curve_sentences, shown_figures
from segcompass.reporting.table import UNKNOWN, Table, Value
from tests.reporting.test_calibration import measured as traced_edits

BOOTSTRAP = {"samples": 200, "level": 0.95, "seed": 0}


def records(variant: str, seed: int, gain: float = 0.0) -> pd.DataFrame:
    """Twelve expressions of six images; IoU 0.25 + gain on each with a target, one expression without."""
    rows = []
    for index in range(12):
        absent = index == 11
        row = {name: {"str": "x", "int64": 0, "float64": 0.0}[kind] for name, kind in COLUMNS.items()}
        row |= {
            "sample_id": f"s{index}",
            "image": f"i{index // 2}",
            "benchmark": "grefcoco",
            "split": "val",
            "experiment": "signals",
            "variant": variant,
            "seed": seed,
        }
        row |= {"no_target": int(absent), "predicted_no_target": int(absent), "truth_area": 0 if absent else 100}
        row |= {"intersection": 0 if absent else round(100 * (0.25 + gain)), "union": 0 if absent else 100, "format_valid": 1}
        row |= {"iou": 1.0 if absent else 0.25 + gain, "thought_correct": index % 2, "oracle_iou": math.nan if absent else 0.5}
        row |= dict.fromkeys((name for name in COLUMNS if name.startswith("oracle_thought")), math.nan)
        rows.append(row | {"oracle_intersection": 0 if absent else 50, "oracle_union": 0 if absent else 100})
    return pd.DataFrame(rows)


ALL = pd.concat([records("full", 0), records("full", 1, 0.1), records("dense", 0, -0.1)], ignore_index=True)


def concept_scores(sae: str, difference: float = 0.3) -> dict[str, pd.DataFrame]:
    """Scores of a dictionary that knows red and ring; `difference` is that to the untrained twin, with an interval of 0.1 to each side."""
    row = {"sae": sae, "tokens": 9, "shuffled": 0.5, "shuffled_low": 0.45, "shuffled_high": 0.55}
    row |= {"difference": difference, "difference_low": difference - 0.1, "difference_high": difference + 0.1}
    row |= {"tells_trained_from_random": abs(difference) > 0.1, "concept": 1, "random_concept": 2, "linear_probe": 0.99}

    def valued(trained: float) -> dict[str, float]:
        ends = {"trained": trained, "random": trained - difference}
        return ends | {f"{name}_{end}": value for name, value in ends.items() for end in ("low", "high")}

    purity = [
        row | valued(trained) | {"attribute": attribute, "value": value, "metric": metric}
        for attribute, value, trained in (
            ("colour", "red", 0.97),
            ("colour", "blue", 0.9),
            ("colour", "(mean)", 0.93),
            ("shape", "ring", 0.96),
            ("shape", "(mean)", 0.96),
        )
        for metric in ("auroc", "f1")
    ]
    metrics = [
        row | valued(value) | {"token_type": kind, "metric": metric}
        for metric, value in (("l0", 16.0), ("explained_variance", 0.9), ("dead_fraction", 0.1))
        for kind in ("instance", "background", "instruction", "thought")
    ]
    coverage = [row | valued(f) | {"ranking": r, "fraction": f, "random_tokens": f} for r in ("thought", "activation") for f in (0.5, 1.0)]
    return {"metrics": pd.DataFrame(metrics), "purity": pd.DataFrame(purity), "coverage": pd.DataFrame(coverage)}


SAES = {"topk": {"architecture": "topk", "line": None}, "dense": {"architecture": "dense", "line": None}}
SAES |= {f"topk_k{k}": {"architecture": "topk", "line": "topk, layer 2, 64 wide"} for k in (4, 16)}
HELD_OUT = {name: {"all": {"l0": 4.0 + i, "explained_variance": 0.9 + i / 50, "dead_fraction": 0.0}} for i, name in enumerate(SAES)}


def cell(summary: pd.DataFrame, variant: str, metric: str, protocol: str = "gres") -> pd.Series:
    rows = summary[(summary["variant"] == variant) & (summary["metric"] == metric) & (summary["protocol"] == protocol)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_metrics_over_seeds_by_hand() -> None:
    summary = over_seeds(run_metrics(ALL))
    found = cell(summary, "full", "cIoU")
    assert (found["mean"], found["seeds"]) == (pytest.approx(0.30), 2)
    assert found["sd"] == pytest.approx(0.1 / math.sqrt(2))
    assert np.isnan(cell(summary, "dense", "cIoU")["sd"])
    assert cell(summary, "full", "N-acc")["mean"] == 1.0
    assert cell(summary, "full", "thought accuracy")["mean"] == 0.5
    assert cell(summary, "dense", "gIoU", ORACLE)["mean"] == 0.5, "the oracle column skips the expression without target"


def test_a_table_in_three_formats(tmp_path: Path) -> None:
    table = Table("t", "Caption, 95 % of it.", ["a_b", "c"])
    table.add("x & y", {"a_b": Value(12.345, 0.5, 2), "c": Value(1.0, low=-0.5, high=2.5)})
    table.add("other", {"a_b": Value(70.0)}, tables.ANOTHER_WORLD)
    assert Value(-0.01, low=-0.02, high=0.01).text(1) == "0.0 [0.0, 0.0]", "zero has no sign"
    table.write(tmp_path)
    tidy = pd.read_csv(tmp_path / "t.csv")
    assert tidy.loc[0, ["row", "column", "mean", "sd", "seeds"]].tolist() == ["x & y", "a_b", 12.345, 0.5, 2]
    assert len(tidy) == 3 and tidy["source"][2] == tables.ANOTHER_WORLD
    markdown = (tmp_path / "t.md").read_text()
    assert "12.3 ± 0.5" in markdown and "1.0 [-0.5, 2.5]" in markdown and "other (published, another world)" in markdown
    assert UNKNOWN in markdown
    latex = (tmp_path / "t.tex").read_text()
    assert r"x \& y" in latex and r"a\_b" in latex and r"95 \%" in latex and r"12.3 $\pm$ 0.5" in latex and r"\toprule" in latex


def test_paper_tables_place_ours_beside_the_published_numbers() -> None:
    table = tables.table_2(over_seeds(run_metrics(ALL)))
    labels = [label for label, _, _ in table.rows]
    assert labels[:2] == ["full", "dense"] and "SegCompass LLaVA-13B" in labels
    ours = {label: values for label, _, values in table.rows}
    assert ours["full"]["gR val cIoU"].mean == pytest.approx(30.0)
    assert ours["SegCompass LLaVA-13B"]["gR val gIoU"].mean == 76.8
    assert "gR val N-acc" not in ours["SegCompass LLaVA-13B"], "unknown numbers are not filled in"


def test_an_ablation_takes_the_variants_that_differ_in_its_key_alone() -> None:
    base = {"policy": {"weight": 1.0, "group": 4, "reward": {"format": 0.3, "mask": 0.7}}, "segmentation": {"weight": 1.0}, "steps": 9}
    settings = {"full": base, "dense": base | {"steps": 8}}
    settings["group_8"] = base | {"policy": base["policy"] | {"group": 8}}
    settings["group_2"] = base | {"policy": base["policy"] | {"group": 2}}
    settings["reward_0_1"] = base | {"policy": base["policy"] | {"reward": {"format": 0.0, "mask": 1.0}}}
    settings["seg_only"] = base | {"policy": base["policy"] | {"weight": 0.0}}
    settings["rl_only"] = base | {"segmentation": {"weight": 0.0}}
    signals = tables.Experiment("full", settings)
    interface = tables.Experiment("full", {name: {"model": {"segmenter": name, "slots": 4}} for name in ("full", "group_2")})
    summary = over_seeds(run_metrics(pd.concat([records(name, 0) for name in settings], ignore_index=True)))

    def ours(table: Table) -> list[str]:
        return [label for label, source, _ in table.rows if source == "ours"]

    assert ours(tables.figure_6(summary, signals)) == ["G = 2", "G = 4", "G = 8"]
    assert ours(tables.table_6(summary, signals)) == ["format 0.3 : mask 0.7", "format 0 : mask 1"]
    assert ours(tables.table_4(summary, signals)) == ["RL only", "segmentation only", "both"]
    assert ours(tables.table_5(summary, interface)) == ["full", "group_2"]
    assert any("ViT-H" in label for label, *_ in tables.table_5(summary, interface).rows)


def test_trained_parameters_are_those_of_the_runs() -> None:
    run = {"facts": {"trained_parameters": {"codebook": 7, "mapper": 3}}, "rows": {"heat_maps": 30, "masks": 5, "training_samples": 9}}
    joint = {"facts": {"trained_parameters": {"language": 90, "codebook": 7, "mapper": 3}}, "rows": {"steps": 20}}
    found = tables.trained_parameters({"reference": run}, {"full": joint}).tidy().set_index(["row", "column"])["mean"]
    assert found["reference", "all"] == 10 and found["reference", "heat maps"] == 30 and found["reference", "masks"] == 5
    assert found["full", "all"] == 100 and found["full", "language"] == 90 and found["full", "updates"] == 20
    assert ("reference", "language") not in found.index and ("full", "masks") not in found.index


def test_figures_are_the_same_bytes_each_time_and_hold_their_data(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    samples = pd.DataFrame(generator.random((50, 3)), columns=["heat_iou", "iou", "coverage"])
    row = {"quality": "heat_iou", "accuracy": "iou", "dictionary": "trained", "spearman": 0.1, "spearman_low": 0.0, "spearman_high": 0.2}
    row |= {"partial": 0.1, "partial_low": 0.0, "partial_high": 0.2, "null_mean": 0.0, "null_low": -0.1, "null_high": 0.1}
    correlations = pd.DataFrame([row])
    shape = {"variant": "full", "ablation": "zero", "low": 0.1, "high": 0.6, "seeds": 3, "images": 4, "samples": 9}
    left = pd.DataFrame(
        [
            shape | {"benchmark": benchmark, "edit": edit, "way": way, "fraction": fraction, "f": 0.4}
            for benchmark in ("refcoco", "reasonseg")
            for edit, way in (("top", "kept"), ("top", "removed"), ("matched", "kept"), ("matched", "removed"), ("direction", "removed"))
            for fraction in (0.01, 0.1)
        ]
    )
    curves = pd.DataFrame({"variant": "full", "seed": 0, "step": range(40), **{name: generator.random(40) for name in PANELS}})
    image = generator.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), bool)
    example = Example(
        "one target, middle", image, "the left $ring$", "<think> target : ring </think>", mask, generator.random((32, 32)), mask, 0.5
    )
    drawn, interfaces = smoothed(curves, PANELS), smoothed(curves, INTERFACE_PANELS)
    rows = {name: [0.1, 0.2, 0.3] for name in VALIDATION_PANELS}
    validated = validation_means(pd.DataFrame({"variant": "full", "seed": 0, "step": [0, 20, 40], **rows}))
    scores = concept_scores("topk")
    shown = scores["purity"][(scores["purity"]["metric"] == "auroc") & (scores["purity"]["value"] != "(mean)")]
    active = scores["metrics"][scores["metrics"]["metric"] == "l0"]
    points = frontier_points(HELD_OUT, SAES)
    outcome = Outcome(mask, 0.5, 0.25, ["1 red", "2"])
    pair = Pair("colour", ("red", "$blue"), Side(image, "the $ring", "red"), Side(image, "it", "blue"), ~mask, outcome, outcome, outcome)
    traced = calibration_points(traced_edits(), ["reference"], 2, 0.1, 0.95)
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        save_figure(lambda: correlation_figure(samples, correlations), samples, folder, "correlation")
        save_figure(lambda: active_features_figure(active), active, folder, "active_features")
        save_figure(lambda: coverage_figure(scores["coverage"]), scores["coverage"], folder, "coverage")
        save_figure(lambda: purity_figure(shown), shown, folder, "purity")
        save_figure(lambda: frontier_figure(points), points, folder, "frontier")
        save_figure(lambda: curves_figure(left), left, folder, "curves")
        save_figure(lambda: interface_figure(interfaces, "reference"), interfaces, folder, "interface")
        save_figure(lambda: training_figure(drawn, "full"), drawn, folder, "training")
        save_figure(lambda: validation_figure(validated, "full"), validated, folder, "validation")
        save_figure(lambda: qualitative_figure([example]), samples, folder, "qualitative")
        save_figure(lambda: pairs_figure([pair, pair]), samples, folder, "pairs")
        save_figure(lambda: calibration_figure(traced, [("reference", "concepts")], 0.1), traced, folder, "calibration")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 36
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    assert pd.read_csv(tmp_path / "a" / "correlation.csv").equals(pd.read_csv(tmp_path / "b" / "correlation.csv"))


def test_texts_of_a_figure_are_shown_and_written_as_they_are(tmp_path: Path) -> None:
    """A `$` opens no formula, and a carriage return ends no row."""
    texts = [r"the $5 mug or the $\foo$ one", "two\rlines", 'a\r\n,"b"']
    picture, mask = np.full((4, 6, 3), 80, np.uint8), np.zeros((4, 6), bool)
    heat = np.zeros((4, 4))
    examples = [Example("one target, middle", picture, text, f"<think> {text} </think>", mask, heat, mask, 0.5) for text in texts]
    drawn = pd.DataFrame({"text": texts, "iou": [0.5, math.nan, 1.0]})
    save_figure(lambda: qualitative_figure(examples), drawn, tmp_path, "qualitative")
    assert pd.read_csv(tmp_path / "qualitative.csv").equals(drawn)
    plain = drawn.iloc[:1]
    save_figure(lambda: qualitative_figure(examples[:1]), plain, tmp_path, "plain")
    assert (tmp_path / "plain.csv").read_text() == plain.to_csv(index=False, lineterminator="\n")


def test_the_frontier_leaves_dense_maps_out_and_figure_4_too() -> None:
    points = frontier_points(HELD_OUT, SAES)
    assert points["sae"].tolist() == ["topk", "topk_k4", "topk_k16"] and points["line"].isna().tolist() == [True, False, False]
    both = pd.concat([concept_scores("topk")["metrics"], concept_scores("dense")["metrics"]])
    assert set(sparse_only(both, SAES)["sae"]) == {"topk"}


def test_tables_of_the_concept_space_stand_beside_their_controls() -> None:
    scores = concept_scores("topk")
    found = {label: values for label, _, values in tables.purity(scores["purity"]).rows}
    red = found["topk, colour red"]
    assert (red["AUROC"].mean, red["untrained"].mean, red["shuffled"].mean) == (0.97, pytest.approx(0.67), 0.5)
    assert (red["AUROC - untrained"].low, red["AUROC - untrained"].high) == (pytest.approx(0.2), pytest.approx(0.4))
    fidelity = {label: values for label, _, values in tables.fidelity(scores["metrics"]).rows}
    assert fidelity["topk, instance"]["L0"].mean == 16.0 and fidelity["topk, instance"]["L0 - untrained"].mean == 0.3


def test_sentences_say_which_values_are_told_and_which_metrics_tell_nothing() -> None:
    known, blind = concept_scores("topk"), concept_scores("topk", difference=0.0)
    told = purity_sentence("topk", known["purity"])
    assert "colour 1 of 2 (untrained 0, shuffled 0, linear read-out of the layer 2" in told and "shape 1 of 1" in told
    assert "the mean AUROC tells" in told and "does not tell" in purity_sentence("topk", blind["purity"])
    assert "every metric" in blind_sentence("topk", known["metrics"], known["coverage"])
    nothing = blind_sentence("topk", blind["metrics"], blind["coverage"])
    worse = concept_scores("topk", difference=-0.3)
    assert "untrained twin is better: explained_variance (instance)" in blind_sentence("topk", worse["metrics"], worse["coverage"])
    assert "l0 (instance)" in nothing and "coverage by thought at 50 %" in nothing and "100 %" not in nothing


def test_smoothing_is_a_mean_over_seeds_then_a_running_mean() -> None:
    base = pd.DataFrame({"step": range(40), **dict.fromkeys(PANELS, 0.0)})
    two = pd.concat([base.assign(variant="v", seed=0, entropy=range(40)), base.assign(variant="v", seed=1, entropy=0)])
    found = smoothed(two, PANELS)
    assert found["entropy"][:3].tolist() == [0.0, 0.25, 0.75]  # means 0, 0.5, 1; window 40 // 20 = 2


def test_validations_are_averaged_over_seeds_and_a_blank_stays_blank() -> None:
    one = {"variant": "v", "step": [0, 5], "thought_accuracy": math.nan, "considered": math.nan, "valid_answers": 1.0, "N-acc": 0.5}
    rows = pd.concat([pd.DataFrame(one | {"seed": 0, "gIoU": [0.1, 0.2]}), pd.DataFrame(one | {"seed": 1, "gIoU": [0.3, 0.6]})])
    found = validation_means(rows)
    assert found["step"].tolist() == [0, 5] and found["gIoU"].tolist() == pytest.approx([0.2, 0.4])
    assert found["thought_accuracy"].isna().all()


def test_phases_are_averaged_over_seeds_and_shared_out_within_a_variant() -> None:
    runs = [
        {"wildcards": {"variant": variant}, "facts": {"seconds_per_phase": seconds}}
        for variant, seconds in (
            ("full", {"sampling": 2.0, "backward": 5.0}),
            ("full", {"sampling": 4.0, "backward": 7.0}),
            ("untrained", {"x": 1.0}),
        )
    ]
    found = phase_shares(runs)
    assert found["full"] == {"sampling": {"seconds": 3.0, "share": 0.3333}, "backward": {"seconds": 6.0, "share": 0.6667}}
    assert found["untrained"] == {"x": {"seconds": 1.0, "share": 1.0}}


def test_overlays_tint_the_mask_and_cut_the_padding_off() -> None:
    image = np.full((2, 4, 3), 100, np.uint8)
    mask = np.array([[True, False, False, False]] * 2)
    tinted = overlay(image, mask, (200, 0, 0))
    assert tinted[0, 0].tolist() == [165, 35, 35] and tinted[0, 1].tolist() == [100, 100, 100]
    heat = np.zeros((4, 4))
    heat[:2] = 1.0  # the image fills the upper half of SAM's square
    lit = heat_overlay(image, heat)
    assert lit.shape == (2, 4, 3) and lit.min() > 100


def test_sentences_follow_the_intervals() -> None:
    row = {"variant": "full", "seeds": 3, "quality": "heat_iou", "accuracy": "iou", "n": 9, "images": 3}
    row |= {"spearman_starred": True, "partial_starred": False}
    row |= {"spearman": 0.5, "spearman_low": 0.2, "spearman_high": 0.7, "null_mean": 0.0, "null_low": -0.1, "null_high": 0.1}
    row |= {"partial": 0.1, "partial_low": -0.1, "partial_high": 0.3}
    assert "goes with" in correlation_sentence(row) and "does not remain" in correlation_sentence(row)
    opposite = row | {"spearman": -row["spearman"], "spearman_low": -row["spearman_high"], "spearman_high": -row["spearman_low"]}
    assert "goes against" in correlation_sentence(opposite)
    assert "no reliable relation" in correlation_sentence(row | {"spearman_starred": False})
    assert "shuffled 0.00" in correlation_sentence(row | {"null_mean": -0.001}), "zero has no sign"
    assert "does not vary" in correlation_sentence(row | {"spearman": math.nan})
    place = {"variant": "full", "benchmark": "refcoco", "ablation": "zero", "way": "removed", "fraction": 0.04, "seeds": 3, "samples": 9}
    curves = pd.DataFrame([place | {"edit": edit, "f": f, "low": f - 0.1, "high": f + 0.1} for edit, f in (("top", 0.2), ("matched", 0.9))])
    curves = pd.concat([curves, curves.assign(fraction=0.01, f=5.0), curves.assign(way="kept"), curves.assign(ablation="mean")])
    (sentence,) = curve_sentences(curves)
    assert "4 % of active concepts 0.20 [0.10, 0.30]" in sentence and "others 0.90 [0.80, 1.00]; 9 samples, 3 seeds" in sentence


def test_axes_of_shares_begin_at_zero_even_where_nothing_moves() -> None:
    still = pd.DataFrame({"variant": "full", "seed": 0, "step": [0, 5], **dict.fromkeys(VALIDATION_PANELS, 0.0)})
    shown = [axis for axis in validation_figure(validation_means(still), "full").axes if axis.get_visible()]
    assert len(shown) == len(VALIDATION_PANELS)
    for axis in shown:
        low, high = axis.get_ylim()
        assert 0 > low > -0.1 * high


def test_the_page_shows_the_figures_that_there_are(tmp_path: Path) -> None:
    for file in ("training.png", "training.pdf", "purity.png"):  # a place that is kept is no figure
        (tmp_path / file).touch()
    assert [text.split("]")[0] for text in shown_figures(tmp_path)] == ["![training"]


LEDGER = {
    "claims": pd.DataFrame(
        [
            {
                "claim": "better",
                "verdict": "supported",
                "sentence": "A is better.",
                "source": "Table 4",
                "family": "parts",
                "smallest": 0.02,
            }
            | {"estimate": 0.1, "low": 0.05, "high": 0.15, "p": 0.01, "p_holm": 0.02, "seeds": 3, "images": 9, "samples": 18}
            | {"twin_estimate": 0.0, "twin_low": -0.01, "twin_high": 0.01, "twin_p": 0.9, "twin_p_holm": 1.0, "expects": "effect"},
            {"claim": "best", "verdict": "not tested", "sentence": "The best.", "source": "Table 1"},
        ]
    ),
    "false_positives": pd.DataFrame([{"family": "parts", "claims": 1, "permutations": 100, "rate": 0.02, "starred": 0.05}]),
    "metric_audit": pd.DataFrame([{"metric": "coverage", "claims": "x", "variation": 0.1, "untrained": math.nan, "fails": "varies"}]),
}


def test_the_front_page_says_all_verdicts_and_where_the_rest_is(tmp_path: Path) -> None:
    for file in ("claims.pdf", "training.pdf", "paths.png"):  # a place that is kept is no figure
        (tmp_path / file).touch()
    runs = [("interface", "reference", 0), ("interface", "reference", 1), ("signals", "full", 0)]
    page = front_page("tiny", runs, LEDGER, tmp_path)
    assert "Of 2 claims: 1 supported, 1 not tested." in page
    assert re.search(r"\| A is better +\| \*\*supported\*\* +\| 0.100 \[0.050, 0.150\] +\| 0.000 \[-0.010, 0.010\] +\| Table 4 +\|", page)
    assert "finds an effect in 2.0 % of 100 twins" in page and "Of 1 metrics that decide claims 1 failed" in page
    assert "![pairs]" not in page and "No counterfactual pairs are shown" in page and "photographs have none" in page
    (tmp_path / "pairs.pdf").touch()
    page = front_page("tiny", runs, LEDGER, tmp_path)
    assert "![pairs](figures/pairs.png)" in page and "No counterfactual pairs" not in page
    assert "![claims]" in page and "![paths]" not in page and "[training](figures/training.png)" in page
    assert "2 interfaces (1 variants)" in page and all(f"](tables/{name}.md)" in page for name in captioned("table"))


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_panel_holds_a_variant_and_the_reference(count: int) -> None:
    rows = pd.DataFrame({"step": [0, 5], "seed": 0, **dict.fromkeys(VALIDATION_PANELS, 0.5)})
    names = ["full", *(f"v{i}" for i in range(count - 1))]
    drawn = validation_means(pd.concat([rows.assign(variant=name) for name in names], ignore_index=True))
    shown = [axis for axis in validation_figure(drawn, "full").axes if axis.get_visible()]
    assert len(shown) == len(VALIDATION_PANELS) * max(1, count - 1)
    assert {len(axis.lines) for axis in shown} == {2}


def test_a_variant_has_one_colour_everywhere() -> None:
    assert colours(["dense", "x", "y"])["dense"] == colours(["reference", "dense"])["dense"] != colours(["topk"])["topk"]
    assert colours(["x", "y"])["x"] != colours(["x", "y"])["y"] and colours(["reference"])["reference"] == colours(["full"])["full"]


def test_claims_are_drawn_in_units_of_what_matters() -> None:
    drawn = in_units(LEDGER["claims"])
    assert list(drawn["claim"]) == ["better"] and drawn.loc[0, "estimate"] == pytest.approx(5.0)
    assert [label.get_text() for label in claims_figure(drawn).axes[0].get_yticklabels()] == ["better"]


ACROSS = pd.DataFrame([{"across": "checkpoints", "quality": "coverage", "accuracy": "iou", "variants": 4, "seeds": 2, "spearman": 0.8}])
ACROSS["spearman_p"] = math.nan


def test_numbers_are_valid_json_without_nan() -> None:
    metrics = {"topk": {"all": {"l0": 16.0, "explained_variance": math.nan}}}
    point = {"variant": "full", "benchmark": "b", "ablation": "zero", "edit": "top", "way": "kept", "fraction": 0.01, "f": 0.5}
    curves = pd.DataFrame([point | {"low": 0.1, "high": math.nan, "seeds": 2, "images": 3, "samples": 4}])
    scores = concept_scores("topk")
    row = {"variant": "full", "benchmark": "all", "quality": "coverage", "accuracy": "iou", "dictionary": "trained", "seeds": 3, "n": 9}
    correlations = pd.DataFrame([row | {"images": 4, "spearman": 0.5, "spearman_p": math.nan, "spearman_starred": False}])
    bounds = comparisons.bounds(over_seeds(run_metrics(ALL)), "full", None).tidy()
    numbers = study_numbers(
        over_seeds(run_metrics(ALL)), correlations, curves, metrics, scores["metrics"], scores["purity"], {"bounds": bounds}, LEDGER, ACROSS
    )
    assert numbers["across"]["checkpoints"]["coverage / iou"] == {"variants": 4, "seeds": 2, "spearman": 0.8, "spearman_p": None}
    text = json.dumps(numbers, allow_nan=False)
    assert numbers["metrics"]["full"]["grefcoco"]["val"]["gres"]["gIoU"]["seeds"] == 2
    assert numbers["comparisons"]["bounds"]["gR val N-acc"]["full"]["mean"] == 100.0
    found = {"spearman": 0.5, "spearman_p": None, "seeds": 3, "images": 4, "n": 9}
    assert numbers["correlation"]["full"]["all"]["coverage / iou"] == found
    left = numbers["curves"]["full"]["b"]["zero"]["top kept"]["0.01"]
    assert left == {"f": 0.5, "low": 0.1, "high": None, "seeds": 2, "images": 3, "samples": 4}
    assert numbers["dictionaries"]["topk"]["all"]["explained_variance"] is None and "NaN" not in text
    assert numbers["concepts"]["topk"]["purity"]["colour"]["red"]["auroc"]["difference"] == 0.3
    assert numbers["concepts"]["topk"]["fidelity"]["instance"]["l0"]["tells_trained_from_random"] is True
    assert numbers["claims"]["verdicts"] == {"supported": 1, "not tested": 1}
    assert numbers["claims"]["stated"]["better"]["effect"]["value"] == 0.1
    assert numbers["claims"]["stated"]["better"]["null twin"]["low"] == -0.01
    assert numbers["claims"]["false positives"]["parts"]["rate"] == 0.02 and numbers["claims"]["audit"]["coverage"]["untrained"] is None
