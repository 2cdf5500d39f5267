"""Every metric of every run from its records, and their mean and standard deviation over seeds: what tables, figures and numbers share."""

from typing import Any

import pandas as pd

from segcompass.protocols.scoring import HEADLINE, summarise

SEG_ZERO, ORACLE, ORACLE_THOUGHT = "reasonseg_seg_zero", "oracle_slots", "oracle_thought"
"""Conventions beside the headline one; `oracle_slots` picks slots with the truth, as the release does; `oracle_thought` is the headline
convention for what the gold thought leads to, where the run was given it."""


def run_metrics(records: pd.DataFrame) -> pd.DataFrame:
    """One row a run, split, protocol and metric: variant, seed, benchmark, split, protocol, metric, value (a fraction), n.

    Beside the protocols' metrics: `thought accuracy` (the thought ends in the truth's targets) and `format` (answers that keep the form).
    """
    rows = []
    for (variant, seed, benchmark, split), part in records.groupby(["variant", "seed", "benchmark", "split"], sort=False):
        identity: dict[str, Any] = {"variant": variant, "seed": seed, "benchmark": benchmark, "split": split}
        headline = HEADLINE[str(benchmark)]
        found = {headline: (part, summarise(part, headline))}
        if benchmark == "reasonseg":
            found[SEG_ZERO] = (part, summarise(_as_headline(part, "seg_zero"), SEG_ZERO))
        picked = part[part["oracle_iou"].notna()]
        if len(picked):
            found[ORACLE] = (picked, summarise(_as_headline(picked, "oracle"), "refcoco"))
        taught = part[part["oracle_thought_iou"].notna()]
        if len(taught):
            rejected = taught["oracle_thought_predicted_no_target"]
            found[ORACLE_THOUGHT] = (
                taught,
                summarise(_as_headline(taught, "oracle_thought").assign(predicted_no_target=rejected), headline),
            )
        for protocol, (rows_used, metrics) in found.items():
            named = {name: value for name, value in metrics.items() if name != "n"}
            if protocol == headline:
                named |= {"thought accuracy": part["thought_correct"].mean(), "format": part["format_valid"].mean()}
            rows += [identity | {"protocol": protocol, "metric": m, "value": v, "n": len(rows_used)} for m, v in named.items()]
    return pd.DataFrame(rows)


def over_seeds(metrics: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation (NaN for one seed) and number of seeds of each metric."""
    keys = ["variant", "benchmark", "split", "protocol", "metric"]
    groups = metrics.groupby(keys, sort=False)["value"]
    return groups.agg(mean="mean", sd="std", seeds="count").reset_index()


def _as_headline(records: pd.DataFrame, convention: str) -> pd.DataFrame:
    columns = {name: records[f"{convention}_{name}"] for name in ("intersection", "union", "iou")}
    return records.assign(**columns)
