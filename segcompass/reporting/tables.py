"""The paper's Tables 1-6 and Figure 6 from our runs, and tables of what was trained: one function a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from segcompass.protocols.scoring import HEADLINE
from segcompass.reporting import published
from segcompass.reporting.metrics import SEG_ZERO
from segcompass.reporting.table import Table, Value

ANOTHER_WORLD = "published, another world"
SHORT = {"refcoco": "R", "refcoco+": "R+", "refcocog": "Rg", "grefcoco": "gR", "reasonseg": "RS"}
CELLS = "Per cent, mean ± standard deviation over seeds."

Column = tuple[str, str, str, str]
"""Benchmark, split, protocol, metric."""


@dataclass(frozen=True)
class Experiment:
    """One experiment of the study, as tables see it."""

    reference: str
    variants: Mapping[str, Mapping[str, Any]]
    """Variant -> its settings in full."""

    def differing(self, place: tuple[str, str]) -> list[str]:
        """The reference and the variants whose settings equal its own but for one place, (section, key)."""
        return [name for name in self.variants if self._with(name, place, None) == self._with(self.reference, place, None)]

    def without(self, place: tuple[str, str]) -> list[str]:
        """The variants that differ from the reference by a 0 at one place alone."""
        wanted = self._with(self.reference, place, 0.0)
        return [name for name, settings in self.variants.items() if name != self.reference and settings == wanted]

    def _with(self, name: str, place: tuple[str, str], value: Any) -> dict[str, Any]:
        (section, key), settings = place, self.variants[name]
        return {**settings, section: {**settings[section], key: value}}


def table_1(summary: pd.DataFrame) -> Table:
    """RefCOCO, RefCOCO+ and RefCOCOg, cIoU."""
    columns = _columns(summary, ("refcoco", "refcoco+", "refcocog"), ("cIoU",))
    caption = f"Table 1. cIoU on RefCOCO (R), RefCOCO+ (R+) and RefCOCOg (Rg). {CELLS}"
    return _benchmark_table("table1", caption, summary, columns, published.TABLE_1)


def table_2(summary: pd.DataFrame) -> Table:
    """gRefCOCO: gIoU, cIoU and the two accuracies of the no-target decision."""
    columns = _columns(summary, ("grefcoco",), ("gIoU", "cIoU", "N-acc", "T-acc"))
    caption = f"Table 2. gRefCOCO (gR), protocol gres. {CELLS}"
    return _benchmark_table("table2", caption, summary, columns, published.TABLES_2_3)


def table_3(summary: pd.DataFrame) -> Table:
    """ReasonSeg: gIoU and cIoU with ignore regions left out, and counted as target."""
    columns = _columns(summary, ("reasonseg",), ("gIoU", "cIoU"))
    columns |= {
        f"{label} (seg_zero)": (benchmark, split, SEG_ZERO, metric) for label, (benchmark, split, _, metric) in list(columns.items())
    }
    caption = f"Table 3. ReasonSeg (RS), zero-shot; headline columns use the convention `lisa`. {CELLS}"
    return _benchmark_table("table3", caption, summary, columns, published.TABLES_2_3)


def table_4(summary: pd.DataFrame, signals: Experiment) -> Table:
    """What each training signal contributes: the reference, and the variants that differ from it by one signal's weight of 0 alone."""
    labels = {"RL only": ("segmentation", "weight"), "segmentation only": ("policy", "weight")}
    rows = {name: label for label, place in labels.items() for name in signals.without(place)} | {signals.reference: "both"}
    return _ablation("table4", "Table 4. Training signals.", summary, rows, published.TABLE_4)


def table_5(summary: pd.DataFrame, interface: Experiment) -> Table:
    """SAM's encoders: every variant of the interface experiment that differs from its reference by the segmenter alone."""
    labels = {name: interface.variants[name]["model"]["segmenter"] for name in interface.differing(("model", "segmenter"))}
    return _ablation("table5", "Table 5. Image encoders.", summary, labels, published.TABLE_5)


def table_6(summary: pd.DataFrame, signals: Experiment) -> Table:
    """Reward mixes: every variant that differs from the reference by `policy.reward` alone."""
    labels = {}
    for name in signals.differing(("policy", "reward")):
        reward = signals.variants[name]["policy"]["reward"]
        labels[name] = f"format {reward['format']:g} : mask {reward['mask']:g}"
    return _ablation("table6", "Table 6. Reward mixes.", summary, labels, published.TABLE_6)


def figure_6(summary: pd.DataFrame, signals: Experiment) -> Table:
    """Group sizes: every variant that differs from the reference by `policy.group` alone."""
    labels = {name: f"G = {signals.variants[name]['policy']['group']}" for name in signals.differing(("policy", "group"))}
    ordered = dict(sorted(labels.items(), key=lambda item: signals.variants[item[0]]["policy"]["group"]))
    return _ablation("figure6", "Figure 6. Rollouts per prompt.", summary, ordered, published.FIGURE_6)


def trained_parameters(interface: Mapping[str, Mapping[str, Any]], joint: Mapping[str, Mapping[str, Any]]) -> Table:
    """What each variant trains, and for how long: parameters by part, steps on heat maps and on masks, updates of joint training.

    Args:
        interface: the `run.json` of one run of each variant of the interface experiment.
        joint: the same of the training-signal experiment.
    """
    found = {**interface, **joint}
    parts = list(dict.fromkeys(part for run in reversed(list(found.values())) for part in run["facts"]["trained_parameters"]))
    caption = "Trained parameters by part, steps of the interface's training on heat maps and on masks, updates of joint training."
    table = Table("trained_parameters", caption, [*parts, "all", "heat maps", "masks", "updates"], 0)
    for variant, run in found.items():
        counts, rows = run["facts"]["trained_parameters"], run["rows"]
        values = counts | {"all": sum(counts.values())}
        values |= {"heat maps": rows.get("heat_maps"), "masks": rows.get("masks"), "updates": rows.get("steps")}
        table.add(variant, {name: Value(float(value)) for name, value in values.items() if value is not None})
    return table


def seed_values(summary: pd.DataFrame, variant: str, columns: dict[str, Column]) -> dict[str, Value]:
    """A variant's metrics over seeds, in per cent, by the label of their column; unknown ones are left out."""
    mine = summary[summary["variant"] == variant]
    places = zip(mine["benchmark"], mine["split"], mine["protocol"], mine["metric"], strict=True)
    numbers = zip(mine["mean"], mine["sd"], mine["seeds"], strict=True)
    known = {place: Value(100 * mean, 100 * sd, int(seeds)) for place, (mean, sd, seeds) in zip(places, numbers, strict=True)}
    return {label: known[place] for label, place in columns.items() if place in known}


def _ablation(
    name: str, caption: str, summary: pd.DataFrame, labels: Mapping[str, str], others: Mapping[str, Mapping[published.Cell, float]]
) -> Table:
    wanted = (("refcocog", "test"), ("grefcoco", "testA"), ("reasonseg", "test"))
    columns = {f"{SHORT[b]} {split} cIoU": (b, split, HEADLINE[b], "cIoU") for b, split in wanted}
    table = Table(name, f"{caption} {CELLS}", list(columns))
    for variant, label in labels.items():
        if variant in set(summary["variant"]):
            table.add(label, seed_values(summary, variant, columns))
    for label, values in others.items():
        table.add(label, _published(values, columns), ANOTHER_WORLD)
    return table


def dictionaries(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Held-out explained variance, L0 and dead features of every dictionary, untrained and dense controls included."""
    columns = ["explained variance", "L0", "dead features", *(f"L0 {kind}" for kind in ("visual", "instruction", "thought"))]
    table = Table("dictionaries", "Dictionaries on held-out images; L0 is the number of active concepts a token.", columns, decimals=3)
    for name, found in metrics.items():
        whole = found["all"]
        values = {"explained variance": whole["explained_variance"], "L0": whole["l0"], "dead features": whole["dead_fraction"]}
        values |= {f"L0 {kind}": found[kind]["l0"] for kind in ("visual", "instruction", "thought") if kind in found}
        table.add(name, {column: Value(float(value)) for column, value in values.items()})
    return table


def fidelity(scores: pd.DataFrame) -> Table:
    """Explained variance, L0 and dead concepts of every scored dictionary per token type, and the difference to its untrained twin.

    Args:
        scores: metrics.csv of every scored dictionary, with its name in column `sae`.
    """
    names = {"explained_variance": "explained variance", "l0": "L0", "dead_fraction": "dead concepts"}
    columns = [f"{label}{end}" for label in names.values() for end in ("", " (untrained)", " - untrained")]
    caption = (
        "Dictionaries on tokens of held-out scenes, beside the untrained twin; the last column of each three is the difference, with its"
        " bootstrap interval (over images; of dead concepts: over concepts)."
    )
    table = Table("fidelity", caption, columns, decimals=3)
    for (sae, kind), rows in scores[scores["metric"].isin(names)].groupby(["sae", "token_type"], sort=False):
        values: dict[str, Value] = {}
        for row in rows.to_dict("records"):
            label = names[row["metric"]]
            values |= {label: Value(row["trained"]), f"{label} (untrained)": Value(row["random"]), f"{label} - untrained": _against(row)}
        table.add(f"{sae}, {kind}", values)
    return table


def purity(scores: pd.DataFrame) -> Table:
    """The best concept of every attribute value: AUROC and F1 on held-out scenes, beside every control.

    Args:
        scores: purity.csv of every scored dictionary, with its name in column `sae`.
    """
    columns = ["AUROC", "untrained", "shuffled", "linear read-out", "AUROC - untrained", "F1", "F1 (untrained)", "F1 - untrained"]
    caption = (
        "Best concept of each attribute value, chosen with its threshold on train scenes, measured on visual tokens of held-out scenes;"
        " differences with bootstrap intervals over images."
    )
    table = Table("purity", caption, columns, decimals=3)
    for (sae, attribute, value), rows in scores.groupby(["sae", "attribute", "value"], sort=False):
        auroc, f1 = (rows[rows["metric"] == metric].to_dict("records")[0] for metric in ("auroc", "f1"))
        values = {"AUROC": Value(auroc["trained"], low=auroc["trained_low"], high=auroc["trained_high"])}
        values |= {
            "untrained": Value(auroc["random"]),
            "shuffled": Value(auroc["shuffled"]),
            "linear read-out": Value(auroc["linear_probe"]),
        }
        values |= {"AUROC - untrained": _against(auroc), "F1": Value(f1["trained"]), "F1 (untrained)": Value(f1["random"])}
        table.add(f"{sae}, {attribute} {value}", values | {"F1 - untrained": _against(f1)})
    return table


def _against(row: Mapping[Any, Any]) -> Value:
    return Value(row["difference"], low=row["difference_low"], high=row["difference_high"])


def _columns(summary: pd.DataFrame, benchmarks: tuple[str, ...], metrics: tuple[str, ...]) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for benchmark in benchmarks:
        for split in dict.fromkeys(summary.loc[summary["benchmark"] == benchmark, "split"]):
            for metric in metrics:
                label = f"{SHORT[benchmark]} {split}" + (f" {metric}" if len(metrics) > 1 else "")
                found[label] = (benchmark, split, HEADLINE[benchmark], metric)
    return found


def _benchmark_table(
    name: str, caption: str, summary: pd.DataFrame, columns: dict[str, Column], others: Mapping[str, Mapping[published.Cell, float]]
) -> Table:
    table = Table(name, caption, list(columns))
    for variant in dict.fromkeys(summary["variant"]):
        table.add(variant, seed_values(summary, variant, columns))
    for label, values in others.items():
        if known := _published(values, columns):
            table.add(label, known, ANOTHER_WORLD)
    return table


def _published(values: Mapping[published.Cell, float], columns: dict[str, Column]) -> dict[str, Value]:
    wanted = {label: (benchmark, split, metric) for label, (benchmark, split, protocol, metric) in columns.items() if protocol != SEG_ZERO}
    return {label: Value(values[cell]) for label, cell in wanted.items() if cell in values}
