"""Gives a trained run the codes of other samples and records what its masks do: swaps between counterfactual pairs, swaps of whole
thoughts, and the paths by which a mask depends on what the run reads.

The words stay as they are; only codes and reference states change. The slots whose masks are compared are fixed before the exchange.
"""

import json
from collections.abc import Iterator
from typing import Any

from segcompass.backbone.runtime import prepare_torch
from segcompass.causal.cached_runs import CachedRuns
from segcompass.causal.carriers import find_carriers
from segcompass.causal.disentanglement import best_count
from segcompass.causal.donors import Donors
from segcompass.causal.examples import write_examples
from segcompass.causal.measurements import Balance, Measurement, write_measurements
from segcompass.causal.pair_runs import SIDES, PairRuns
from segcompass.causal.paths import path_shares
from segcompass.causal.response import Responding
from segcompass.causal.sampling import round_images
from segcompass.causal.swap import Swaps
from segcompass.causal.thought_swap import ARMS, thought_swaps
from segcompass.causal.token_pool import Encoding
from segcompass.datasets.artefact import manifest, read_lines
from segcompass.datasets.masks import decode
from segcompass.datasets.pairs import exchanged_pairs, paired_samples
from segcompass.datasets.samples import read_samples
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.checkpoint import load_interface
from segcompass.joint.model import InterfaceModel
from segcompass.joint.tokens import ConceptTokens
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import RuntimeSettings

FLAGS = {
    "data": "artefact of prepare_data",
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the dictionary that the run was trained with",
    "answers": "artefact of cache_answers, those to the evaluated samples",
    "images": "artefact of embed_images, those of the evaluated samples",
    "pair-answers": "optional: artefact of cache_answers, gold thoughts of the counterfactual pairs' samples",
    "pair-images": "optional: artefact of embed_images, those of the counterfactual pairs",
    "run": "artefact of train_interface",
}
NO_PAIRS = (
    "left out: the data have no counterfactual pairs of val and test; photographs have none, an embedded world has those it is asked for"
)


def work(stage: Stage) -> None:
    """Fills `measurements.csv` and `balance.csv`, and of swaps `examples.json`."""
    settings = stage.params["exchange"]
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    prepare_torch(stage.params["threads"], settings["seed"])
    model = load_interface(stage.inputs["run"], stage.inputs["backbone"], stage.inputs["sae"], runtime)
    exchanges = Exchanges(stage, model, settings, stage.params["batch"], stage.params["confidence_threshold"])
    measurements: list[Measurement] = []
    balances: list[Balance] = []
    if "swap" in settings["interventions"]:
        if settings["paired"]:
            measurements += exchanges.swaps(balances)
        else:
            stage.facts["swap"] = NO_PAIRS
    measurements += exchanges.of_splits()
    stage.rows["measurements"] = write_measurements(measurements, balances, stage.folder)
    stage.facts |= {"seed": settings["seed"], "device": runtime.device}


class Exchanges:
    """The interventions that a study asks of one run."""

    def __init__(self, stage: Stage, model: InterfaceModel, settings: dict[str, Any], batch: int, threshold: float) -> None:
        self.stage, self.model, self.settings, self.batch = stage, model, settings, batch
        self.data, self.device = stage.inputs["data"], next(model.parameters()).device
        self.responding = Responding(model, threshold)

    def swaps(self, balances: list[Balance]) -> Iterator[Measurement]:
        """`swap`, whose balance is appended and whose examples are written."""
        counts, memory = self.settings["pairs"], self.settings["memory_mb"]
        encoding, runs = self._cached("pair-answers", "pair-images")
        samples = {(split, sample.sample_id): sample for _, split, sample in paired_samples(self.data, counts)}
        val, test = (
            PairRuns(split, exchanged_pairs(self.data, split, counts[split]), {key[1]: one for key, one in samples.items()}, runs)
            for split in ("val", "test")
        )
        size = runs.chunk(self.batch, SIDES, memory)
        tokens = self.model.interface.codebook.tokens
        assert isinstance(tokens, ConceptTokens)
        lengths = tokens.rows.detach().norm(dim=1)
        carriers = find_carriers(val, size)
        seed = self.settings["seed"]
        choosing = Swaps(val, self.responding, encoding, carriers, lengths, seed, 0)
        count, scores = best_count(self.settings["concepts"], lambda k: choosing.disentanglement(k, size))
        self.stage.facts["concepts an attribute"] = count
        self.stage.facts["disentanglement on val"] = {str(k): round(score, 4) for k, score in scores.items()}
        scenes = {
            row["scene_id"]: [item["visible"] for item in row["objects"]]
            for row in read_lines(self.data / "scenes" / "counterfactual_test.jsonl")
        }
        swaps = Swaps(test, self.responding, encoding, carriers, lengths, seed, self.settings["examples"])
        yield from swaps.measure(count, size, scenes)
        write_examples(swaps.examples, self.model.dictionary.features, self.stage.folder)
        balances += swaps.balance()

    def of_splits(self) -> Iterator[Measurement]:
        """`thought_swap` and `paths`, of every split that is asked for."""
        asked = [name for name in ("thought_swap", "paths") if name in self.settings["interventions"]]
        if not asked:
            return
        _, runs = self._cached("answers", "images")
        for benchmark, splits in self.settings["splits"].items():
            for split in splits:
                every = [one for one in read_samples(manifest(self.data, benchmark, split)) if decode(one.target).any()]
                donors = Donors(every, self.settings["seed"])
                place = (benchmark, split)
                samples = round_images(every, lambda one: one.image, self.settings["samples"])
                for name in asked:
                    answers, measure = (1 + len(ARMS), thought_swaps) if name == "thought_swap" else (2, path_shares)
                    size = runs.chunk(self.batch, answers, self.settings["memory_mb"])
                    yield from measure(runs, self.responding, place, samples, donors, size)

    def _cached(self, answers: str, images: str) -> tuple[Encoding, CachedRuns]:
        cached = CachedAnswers(self.stage.inputs[answers], self.model.dictionary.hook_layer, self.device)
        encoding = Encoding.of_cache(self.model.dictionary, cached)
        return encoding, CachedRuns(cached, CachedImages(self.stage.inputs[images], self.model.settings.segmenter, self.device), encoding)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("exchange", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
