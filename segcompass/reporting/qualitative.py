"""Which samples the qualitative figure shows: by a rule that has failures, several targets and no target, so that nobody chose them.

Kinds: expressions with one target, with several, and with none. Of each kind, over the splits that the study names: the sample in the
middle by IoU (its own, 1 for a mask that is rightly empty), then those with the lowest. Where a heat map was kept of some sample of a kind,
the others of that kind do not count. Ties go by split and sample id.
"""

import pandas as pd

KINDS = ("one target", "several targets", "no target")


def chosen(records: pd.DataFrame, count: int) -> pd.DataFrame:
    """The rows to show, kind by kind, with columns `kind` and `which` (`middle` or `lowest`).

    Args:
        records: of the splits, one below the other, with a column `kept`: whether the sample's heat map was.
        count: samples of each kind, at least 1; fewer where a kind has no more.
    """
    kinds = pd.Series(KINDS[1], index=records.index).mask(records["n_targets"] == 1, KINDS[0]).mask(records["n_targets"] == 0, KINDS[2])
    found = []
    for kind in KINDS:
        rows = records[kinds == kind]
        rows = rows[rows["kept"]] if rows["kept"].any() else rows
        rows = rows.sort_values(["iou", "split", "sample_id"], kind="stable")
        if len(rows):
            middle = (len(rows) - 1) // 2
            places = [middle, *(place for place in range(len(rows)) if place != middle)][:count]
            found.append(rows.iloc[places].assign(kind=kind, which=["middle", *["lowest"] * (len(places) - 1)]))
    return pd.concat(found) if found else records.iloc[:0].assign(kind="", which="")
