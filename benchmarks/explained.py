"""Whether `segcompass explain` and `segcompass edit` say of single samples what the study's causal battery has measured of many.

    python benchmarks/explained.py results/default --samples 50

Two questions to the study's results, each answered by asking the run itself, from pictures and words:
* traceability: explain's fall of the score without the greatest contributors, and the fall that it predicts, beside the records of stage
  `intervene`, with R2 of observed on predicted by either (formula: segcompass/causal/traceability.py).
* swaps: how often `edit --swap-from ... --attribute` moves the mask to the expected twin, beside the records of stage `exchange`, whose
  samples have gold thoughts; then with the thoughts that the run gives itself, as the plain command has them.
Of another run than the one that the battery measured (`--run`) the same is printed; there agreement is not to be expected.
`--json` prints one JSON object besides, with the samples that differ. Nothing is timed.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from segcompass.causal.measurements import read_measurements
from segcompass.causal.overlap import iou
from segcompass.datasets.artefact import data_root, gold_thoughts, manifest, sample_image
from segcompass.datasets.images import read_image
from segcompass.datasets.masks import decode
from segcompass.datasets.pairs import CounterfactualPair, exchanged_pairs
from segcompass.datasets.samples import Sample, read_samples
from segcompass.explain.answered import answered, concept_chunk, concept_tokens
from segcompass.explain.carriers import carriers, exchanged
from segcompass.explain.edit import Editable, Swap, codes_of, edited_codes
from segcompass.explain.explanation import traced
from segcompass.joint.inference import Predictor
from segcompass.joint.stored_run import load_predictor, stored_run
from segcompass.provenance.stage import read_run

CLOSE = 0.1
"""Logits; cached answers are rounded, so that figures differ by about a hundredth."""


@dataclass(frozen=True)
class Traced:
    """One sample: what explain says, and what the study's record says; logits."""

    sample_id: str
    observed: float
    predicted: float
    recorded_observed: float
    recorded_predicted: float


@dataclass(frozen=True)
class Swapped:
    """One counterfactual pair."""

    sample_id: str
    attribute: str
    gold: float
    """1 where the mask went to the expected twin, with gold thoughts."""
    own: float
    """With the run's own thoughts; 0 where an answer breaks the form."""
    recorded: float
    sham: int
    """Mask logits that the edit of nothing changed."""


def traced_as_recorded(study: Path, predictor: Predictor, battery: Path, count: int) -> Iterator[Traced]:
    """Of the first `count` samples of the record, the benchmarks by turns.

    Args:
        study: its results.
        predictor: of the run that is asked.
        battery: artefact of `intervene`.
        count: samples at most.
    """
    settings = read_run(battery)["params"]["intervention"]
    listed, largest = settings["traceability"]["listed"], max(settings["traceability"]["sizes"])
    frame = read_measurements([battery])
    frame = frame[(frame["intervention"] == "traceability") & (frame["arm"] == "top") & (frame["at"].astype(str) == str(largest))]
    table = frame.pivot_table(index=["benchmark", "split", "sample_id"], columns="measure", values="value", observed=True, sort=False)
    rank = table.groupby(level="benchmark", observed=True).cumcount()
    for (benchmark, split, sample_id), row in table.iloc[np.argsort(rank.to_numpy(), kind="stable")[:count]].iterrows():
        sample = _samples(study, str(benchmark), str(split))[str(sample_id)]
        answer = answered(predictor, read_image(data_root(study / "data") / sample.image), sample.text)
        chunk = concept_chunk(predictor.interface_model, answer)
        (found,) = traced(chunk, listed, [largest], settings["steps"])
        yield Traced(sample.sample_id, found.observed, found.predicted_integrated, row["observed"], row["predicted_integrated"])


def swapped_as_recorded(study: Path, predictor: Predictor, battery: Path, attribute: str, count: int | None = None) -> Iterator[Swapped]:
    """Of the pairs of test that `exchange` has measured.

    Args:
        study: its results.
        predictor: of the run that is asked.
        battery: artefact of `exchange`.
        attribute: whose concepts are exchanged.
        count: pairs at most; None for all.
    """
    data = study / "data"
    frame = read_measurements([battery])
    frame = frame[
        (frame["intervention"] == "swap") & (frame["arm"] == "attribute") & (frame["measure"] == "cause") & (frame["at"] == attribute)
    ]
    recorded = dict(zip(frame["sample_id"].astype(str), frame["value"], strict=True))
    taken = carriers(predictor, data, attribute, *exchanged(study))
    tests = read_run(battery)["params"]["exchange"]["pairs"]["test"]
    rows = [row for row in exchanged_pairs(data, "test", tests) if (row.attribute, row.kind) == (attribute, "cause")]
    gold = gold_thoughts(data, "counterfactual_test")
    for number, pair in enumerate(rows[:count]):
        edited = pair.sides[number % 2]
        (with_gold, sham), (alone, _) = (_swap(predictor, data, pair, number, taken, thoughts) for thoughts in (gold, {}))
        yield Swapped(edited.sample_id, attribute, with_gold, alone, recorded[edited.sample_id], sham)


def _swap(
    predictor: Predictor, data: Path, pair: CounterfactualPair, number: int, taken: list[int], gold: dict[str, str]
) -> tuple[float, int]:
    """Whether the mask has a greater IoU with the expected twin than with the own target once the concepts are taken; and the sham."""
    samples = _samples(data.parent, pair.benchmark, "test")
    sides = [pair.sides[(number + turn) % 2] for turn in range(2)]
    asked = [samples[side.sample_id] for side in sides]
    own, other = (answered(predictor, sample_image(data, one), one.text, gold.get(one.sample_id)) for one in asked)
    if own.prediction.status != "ok" or other.prediction.status != "ok":
        return 0.0, 0
    editable = Editable(predictor, own)
    threshold = concept_tokens(predictor.interface_model).threshold
    outcome = editable.edited(edited_codes(editable.codes, Swap(codes_of(predictor, other), taken), [], None, threshold))
    target, expected = decode(asked[0].target), decode(samples[sides[0].expected_sample_id].target)
    return float(iou(outcome.mask_after, expected) > iou(outcome.mask_after, target)), outcome.sham[0]


def _samples(study: Path, benchmark: str, split: str) -> dict[str, Sample]:
    return {one.sample_id: one for one in read_samples(manifest(study / "data", benchmark, split))}


def r2(observed: np.ndarray, predicted: np.ndarray) -> float:
    """1 less the squared errors over the squared deviations of what was observed."""
    return float(1 - ((observed - predicted) ** 2).sum() / ((observed - observed.mean()) ** 2).sum())


def main() -> None:
    """Prints both answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="results of a study whose battery has run")
    parser.add_argument("--variant", default="reference", help="interface whose first seed is compared; %(default)s")
    parser.add_argument("--run", type=Path, help="another run of the study that is asked in its place")
    parser.add_argument("--samples", type=int, default=50, help="of traceability; %(default)s")
    parser.add_argument("--attributes", nargs="*", default=["colour"], help="of swaps; %(default)s")
    parser.add_argument("--json", action="store_true", help="print every figure as JSON too")
    given = parser.parse_args()
    stored = stored_run(given.run or given.study / "interface" / given.variant / "seed0")
    predictor = load_predictor(stored, None)
    lines = list(traced_as_recorded(given.study, predictor, given.study / "intervene" / given.variant / "seed0", given.samples))
    table = pd.DataFrame([asdict(line) for line in lines])
    found: dict[str, object] = {"run": stored.name, "samples": len(table)}
    found["r2 of explain"] = r2(table["observed"].to_numpy(), table["predicted"].to_numpy())
    found["r2 of the record"] = r2(table["recorded_observed"].to_numpy(), table["recorded_predicted"].to_numpy())
    differences = table[["observed", "predicted"]].to_numpy() - table[["recorded_observed", "recorded_predicted"]].to_numpy()
    apart = np.abs(differences).max(1)
    found |= {"median difference": float(np.median(apart)), "apart": table["sample_id"][apart > CLOSE].tolist()}
    print(f"traceability of {len(table)} samples: R2 {found['r2 of explain']:.3f}, by the record {found['r2 of the record']:.3f}")
    close = int((apart <= CLOSE).sum())
    print(f"{close} of {len(table)} within {CLOSE} logits of their record; median difference {np.median(apart):.2g}")
    for attribute in given.attributes:
        battery = given.study / "exchange" / given.variant / "seed0"
        swaps = pd.DataFrame([asdict(line) for line in swapped_as_recorded(given.study, predictor, battery, attribute)])
        agree = int((swaps["gold"] == swaps["recorded"]).sum())
        moved = {name: float(swaps[name].mean()) for name in ("gold", "own", "recorded")}
        found[f"swaps of {attribute}"] = moved | {"pairs": len(swaps), "agree": agree, "sham": int(swaps["sham"].sum())}
        print(
            f"{attribute}: with gold thoughts {moved['gold']:.1%} move, by the record {moved['recorded']:.1%}: {agree}/{len(swaps)} agree"
        )
        print(f"  with its own thoughts {moved['own']:.1%}; sham edits changed {int(swaps['sham'].sum())} mask logits")
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
