"""Which concepts carry an attribute in thoughts: found on the counterfactual pairs of a study's val split, as stage `exchange` finds them.

The two sides of a pair name one object by either value of the attribute; their gold thoughts differ in the attribute's words alone. Those
concepts carry it whose codes differ most between corresponding tokens of both thoughts (`segcompass/causal/carriers.py`, `moved`).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from segcompass.causal.carriers import moved
from segcompass.datasets.artefact import gold_thoughts, manifest, sample_image
from segcompass.datasets.pairs import CounterfactualPair, exchanged_pairs
from segcompass.datasets.samples import read_samples
from segcompass.errors import InputError
from segcompass.explain.names import ConceptNames
from segcompass.joint.inference import Predictor
from segcompass.joint.stored_run import StoredRun
from segcompass.provenance.stage import read_run

PAIRS, CONCEPTS = 12, 16
"""Pairs of each attribute that are looked at, and concepts that carry it, where stage `exchange` of the study has not run."""
BATCH = 16


def attributes(data: Path) -> list[str]:
    """Attributes of which a study has pairs, in their order; none of photographs."""
    if not (data / "pairs" / "val.jsonl").is_file():
        return []
    return list(dict.fromkeys(pair.attribute for pair in exchanged_pairs(data, "val", 1)))


def known_attributes(stored: StoredRun, names: ConceptNames) -> list[str]:
    """Attributes of which a run knows the concepts that carry them: shipped with it, or to be found on its study's pairs."""
    return list(names.carriers) if stored.study is None else attributes(stored.study / "data")


def carrying(stored: StoredRun, predictor: Predictor, names: ConceptNames, attribute: str, field: str = "--attribute") -> list[int]:
    """The concepts that carry an attribute, from the shipped names or found in the run's study; `field` is what the user calls it.

    Raises:
        InputError: the run knows none.
    """
    known = known_attributes(stored, names)
    if attribute not in known:
        advice = (
            f"choose from {', '.join(known)}" if known else "its data have no counterfactual pairs, so leave the flag out or --set concepts"
        )
        raise InputError(None, field, f"is `{attribute[:40]}`, of which this run knows no concepts; {advice}")
    if stored.study is None:
        return names.carriers[attribute]
    return carriers(predictor, stored.study / "data", attribute, *exchanged(stored.study))


def carriers(predictor: Predictor, data: Path, attribute: str, pairs: int, count: int) -> list[int]:
    """The `count` concepts that carry an attribute on the first `pairs` pairs of val, strongest first.

    Raises:
        InputError: the study has no pairs.
    """
    rows = [row for row in exchanged_pairs(data, "val", pairs) if (row.attribute, row.kind) == (attribute, "contrast")]
    total: Tensor | None = None
    for start in range(0, len(rows), BATCH):
        own, other = (_thought_codes(predictor, data, rows[start : start + BATCH], side) for side in range(2))
        total = moved(own, other).double() + (0 if total is None else total)
    if total is None:
        return []
    order = torch.argsort(total, descending=True, stable=True)[:count]
    return [int(concept) for concept in order if total[concept] > 0]


def exchanged(study: Path) -> tuple[int, int]:
    """Pairs of val on which stage `exchange` found what carries an attribute, and concepts that it chose for the reference interface."""
    run = study / "exchange" / "reference" / "seed0"
    record = read_run(run) if run.is_dir() else {"params": {}, "facts": {}}
    pairs = record["params"].get("exchange", {}).get("pairs", {}).get("val", PAIRS)
    return int(pairs), int(record["facts"].get("concepts an attribute", CONCEPTS))


def _thought_codes(predictor: Predictor, data: Path, pairs: Sequence[CounterfactualPair], side: int) -> Tensor:
    """Codes [M, F] of the thoughts' tokens of one side of some pairs."""
    gold = gold_thoughts(data, "counterfactual_val")
    wanted = [pair.sides[side].sample_id for pair in pairs]
    benchmarks = {pair.benchmark for pair in pairs}
    samples = {
        one.sample_id: one for name in benchmarks for one in read_samples(manifest(data, name, "val")) if one.sample_id in set(wanted)
    }
    images = [sample_image(data, samples[name]) for name in wanted]
    thoughts = predictor.read(images, [samples[name].text for name in wanted], [gold[name] for name in wanted])
    assert isinstance(thoughts.reading.codes, Tensor)
    return thoughts.reading.codes[thoughts.reading.thought]
