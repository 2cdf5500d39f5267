"""Processor minutes by claim: where a study's time goes, asked of what it is to decide.

A claim needs the runs of its variants and of its null twin's, their evaluation or the half of the battery that measures them, and the
interfaces that training of the policy begins with. A job that several claims need is shared evenly among them. What every claim needs
(data, backbone, caches, dictionaries, report) and what none does stand in rows of their own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from segcompass.footprint.spent import spent
from segcompass.footprint.tables import Table
from segcompass.study.claims import BatteryEstimand, ClaimSettings, PurityEstimand, variants_of
from segcompass.study.exchange import Exchange
from segcompass.study.jobs import EVALUATE, EXCHANGE, INTERVENE, TRAIN, exchanged_runs, intervened_runs
from segcompass.study.study import Study

EVERY, NONE = "shared by all: data, backbone, caches, dictionaries, report", "no claim: runs that only tables and figures show"
RUN_STAGES = {stage for stages in (TRAIN, EVALUATE, INTERVENE, EXCHANGE) for stage in stages.values()}


def spent_by_claim(study: Study, root: Path) -> Table:
    """One row a claim, those that cost most first; arguments and errors as of `segcompass.footprint.spent.spent`."""
    frame = spent(study.study, root)
    needed: dict[tuple[str, str], list[str]] = {}
    for name, claim in study.claims.stated.items():
        for job in _jobs(study, claim):
            needed.setdefault(job, []).append(name)
    minutes = dict.fromkeys([*study.claims.stated, EVERY, NONE], 0.0)
    for stage, job, seconds in zip(frame["stage"], frame["job"], frame["cpu_time"], strict=True):
        owners = needed.get((stage, job), [NONE]) if stage in RUN_STAGES else [EVERY]
        for owner in owners:
            minutes[owner] += seconds / 60 / len(owners)
    total = sum(minutes.values())
    rows = sorted(minutes.items(), key=lambda row: -row[1])
    cells = [[name, f"{value:.1f}", f"{100 * value / total:.0f} %"] for name, value in rows]
    return Table(f"{study.study}: {total:.1f} processor minutes by claim", ["claim", "processor minutes", "share"], cells)


def _jobs(study: Study, claim: ClaimSettings) -> set[tuple[str, str]]:
    """(Stage, name of the benchmark file) of every job of a run that the claim needs."""
    return {(stage, f"{variant}_seed{seed}") for stage, variant, seed in _steps(study, claim)}


def _steps(study: Study, claim: ClaimSettings) -> Iterator[tuple[str, str, int]]:
    estimand, twin = claim.estimand, claim.rule.twin
    if isinstance(estimand, PurityEstimand):  # of a dictionary, not of a run
        return
    variants = {*variants_of(estimand), *(twin.values() if isinstance(twin, dict) else ())}
    stages, runs = EVALUATE, study.runs()
    if isinstance(estimand, BatteryEstimand):
        exchanged = estimand.intervention in get_args(Exchange)
        stages, runs = (EXCHANGE, exchanged_runs(study)) if exchanged else (INTERVENE, intervened_runs(study))
    for run in runs:
        experiment, variant, seed = run
        if variant not in variants:
            continue
        yield TRAIN[experiment], variant, seed
        if experiment == "signals":
            yield TRAIN["interface"], study.joint_variant(variant).interface, seed
        yield stages[experiment], variant, seed
