"""Scores a dictionary on labelled tokens of held-out scenes, each metric beside its untrained twin's and beside shuffled labels.

`metrics.csv`: fidelity per token type (Figure 4), decoder coherence, monosemanticity. `coverage.csv`: Figure 5. `purity.csv`: the best
concept of every attribute value. `concepts.csv`, `concept_values.csv`, `top_patches.csv`, `top_words.csv`, `density.csv`: every concept.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from segcompass.backbone.runtime import prepare_torch
from segcompass.concepts.best_concept import Chosen, choose, linear_probe, purity_rows
from segcompass.concepts.contrast import COLUMNS, contrast
from segcompass.concepts.coverage_curves import RANKINGS, coverage_curves, random_shares, targets
from segcompass.concepts.every_concept import concept_frame, density_frame, patch_frame, value_frame, word_frame
from segcompass.concepts.fidelity import Coded, dead_fraction, decoder_coherence, fidelity
from segcompass.concepts.labelled import LabelledTokens, load_labelled
from segcompass.concepts.monosemanticity import attribute_embeddings, monosemanticity
from segcompass.concepts.purity import RankedCodes
from segcompass.errors import InputError
from segcompass.numerics.tables import finite_frame
from segcompass.protocols.csv_rows import write_frame
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.checkpoint import load_dictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.stats.draws import ClusterDraws, Measured
from segcompass.study.analysis import BootstrapSettings
from segcompass.study.scoring import ScoreSettings

FLAGS = {
    "tokens": "artefact of label_tokens",
    "sae": "artefact of train_sae",
    "control-sae": "artefact of train_sae, the untrained dictionary",
}
TOKENS_AT_ONCE = 4096
UNREACHED = ("threshold",)
"""Infinite for a concept that says nothing of a label: no token is above it."""
NAMES = ("trained", "random")


def work(stage: Stage) -> None:
    """Fills the CSVs."""
    settings = ScoreSettings.model_validate_json(json.dumps(stage.params["scores"]))
    bootstrap = BootstrapSettings.model_validate_json(json.dumps(stage.params["bootstrap"]))
    control = stage.inputs["control-sae"]
    if control.name != stage.params["control_sae"]:
        raise InputError(control, "--control-sae", f"is not `{stage.params['control_sae']}`, which the study scores this dictionary beside")
    prepare_torch(stage.params["threads"], settings.seed)
    train, val = (load_labelled(stage.inputs["tokens"], split) for split in ("train", "val"))
    dictionaries = dict(zip(NAMES, (load_dictionary(stage.inputs[flag]) for flag in ("sae", "control-sae")), strict=True))
    scores = Scores(train, val, dictionaries, settings, bootstrap)
    frames = {"metrics": scores.metrics(), "coverage": scores.coverage(), "purity": scores.purity()} | scores.every_concept()
    for name, frame in frames.items():
        path = stage.folder / f"{name}.csv"
        finite_frame(frame, path, "nothing of that kind is published; look at the dictionary and at the labelled tokens", but=UNREACHED)
        write_frame(frame, path, "%.6g")
        stage.rows[name] = len(frame)
    stage.facts |= {"device": "cpu", "seed": settings.seed}


class Scores:
    """All metrics of a trained dictionary and its untrained twin."""

    def __init__(
        self,
        train: LabelledTokens,
        val: LabelledTokens,
        dictionaries: dict[str, Dictionary],
        settings: ScoreSettings,
        bootstrap: BootstrapSettings,
    ) -> None:
        self.train, self.val, self.dictionaries, self.settings = train, val, dictionaries, settings
        self.level = bootstrap.level
        self.draws = ClusterDraws(len(val.images), bootstrap.samples, bootstrap.seed)
        self.of_concepts = {
            name: ClusterDraws(dictionary.features, bootstrap.samples, bootstrap.seed) for name, dictionary in dictionaries.items()
        }
        self.coded = {name: coded(dictionary, val.hidden) for name, dictionary in dictionaries.items()}
        self.codes = {name: found.codes[val.seen].tocsc() for name, found in self.coded.items()}
        self.ranked = {
            name: RankedCodes(coded(dictionary, train.hidden[train.seen]).codes.tocsc()) for name, dictionary in dictionaries.items()
        }
        generator = np.random.default_rng([settings.seed, 3])
        self.order = {split: generator.permutation(int(tokens.seen.sum())) for split, tokens in (("train", train), ("val", val))}
        self.truth = {split: tokens.labels()[tokens.seen] for split, tokens in (("train", train), ("val", val))}
        self.image = val.image[val.seen]

    def metrics(self) -> pd.DataFrame:
        """Fidelity of each kind of token, decoder coherence and monosemanticity; shuffled: kinds, or labels, permuted over tokens."""
        rows: list[dict[str, Any]] = []

        def add(kind: str, tokens: int, metric: str, trained: Measured, random: Measured, shuffled: Measured | None) -> None:
            rows.append({"token_type": kind, "metric": metric, "tokens": tokens} | contrast(trained, random, shuffled, self.level))

        permuted = np.random.default_rng([self.settings.seed, 2]).permutation(len(self.val.hidden))
        for kind, mask in self.val.kinds().items():
            if not mask.any():
                continue
            trained, random = (self._of_kind(name, mask) for name in NAMES)
            shuffled = self._of_kind("trained", mask[permuted]) if kind != "all" else {}
            for metric, measured in trained.items():
                add(kind, int(mask.sum()), metric, measured, random[metric], shuffled.get(metric))
        trained, random = (decoder_coherence(self.dictionaries[name].W_dec.numpy(), self.of_concepts[name]) for name in NAMES)
        for metric, measured in trained.items():
            add("all", len(self.val.hidden), metric, measured, random[metric], None)
        if self.val.attributes:
            mixed = np.random.default_rng([self.settings.seed, 4]).permutation(int(self.val.instance.sum()))
            alike, untrained = (self._monosemanticity(name, self.draws)[1] for name in NAMES)
            add("instance", len(mixed), "monosemanticity", alike, untrained, self._monosemanticity("trained", self.draws, mixed)[1])
        return pd.DataFrame(rows, columns=["token_type", "metric", "tokens", *COLUMNS])

    def coverage(self) -> pd.DataFrame:
        """Figure 5: one row a ranking and share of the tokens."""
        chosen, fractions, seed = targets(self.val), self.settings.coverage_fractions, self.settings.seed
        image = np.array([target.image for target in chosen], int)
        curves = {name: coverage_curves(self.val, self.coded[name].codes, chosen, fractions, seed, shuffled=False) for name in NAMES}
        curves["shuffled"] = coverage_curves(self.val, self.coded["trained"].codes, chosen, fractions, seed, shuffled=True)
        expected = random_shares(chosen, fractions)
        rows = []
        for ranking in RANKINGS:
            for place, fraction in enumerate(fractions if chosen else ()):
                trained, random, shuffled = (self.draws.mean(curve[ranking][:, place], image) for curve in curves.values())
                row = {"ranking": ranking, "fraction": fraction, "expressions": len(chosen), "random_tokens": expected[:, place].mean()}
                rows.append(row | contrast(trained, random, shuffled, self.level))
        return pd.DataFrame(rows, columns=["ranking", "fraction", "expressions", "random_tokens", *COLUMNS])

    def purity(self) -> pd.DataFrame:
        """The best concept of every attribute value."""
        truth, labels = self.truth["train"], self.truth["val"]
        trained, random = (self._chosen(name, truth, labels) for name in NAMES)
        shuffled = self._chosen("trained", truth[self.order["train"]], labels[self.order["val"]])
        hidden = self.val.hidden[self.val.seen]
        probe = linear_probe(self.train.hidden[self.train.seen], truth, hidden, labels, self.image, self.draws)
        rows = purity_rows(self.val.values(), trained, random, shuffled, probe, labels.sum(0), self.level)
        columns = ["attribute", "value", "metric", "tokens", "concept", "random_concept", "linear_probe", *COLUMNS]
        return pd.DataFrame(rows, columns=columns)

    def every_concept(self) -> dict[str, pd.DataFrame]:
        """Tables of one row a concept, or several."""
        val, truth, labels, count = self.val, self.truth["train"], self.truth["val"], self.settings.strongest
        parts: dict[str, list[pd.DataFrame]] = {"concepts": [], "concept_values": [], "density": []}
        for name in NAMES:
            codes, ranked = self.coded[name].codes, RankedCodes(self.codes[name])
            values = value_frame(self.ranked[name], truth, ranked, labels, val.values())
            unknown = np.full(codes.shape[1], np.nan)
            single = self._monosemanticity(name, ClusterDraws(len(val.images), 1, 0))[0] if val.attributes else unknown
            parts["concepts"].append(concept_frame(codes, val.kinds(), single, values).assign(dictionary=name))
            parts["concept_values"].append(values.assign(dictionary=name))
            parts["density"].append(density_frame(codes, val.kinds()).assign(dictionary=name))
        joined = {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}
        trained = self.coded["trained"].codes
        return joined | {"top_patches": patch_frame(trained, val, count), "top_words": word_frame(trained, val, count)}

    def _of_kind(self, name: str, mask: np.ndarray) -> dict[str, Measured]:
        found = fidelity(self.val.hidden, self.coded[name], mask, self.val.image, self.draws)
        return found | {"dead_fraction": dead_fraction(self.coded[name].codes[mask], self.of_concepts[name])}

    def _monosemanticity(self, name: str, draws: ClusterDraws, order: np.ndarray | None = None) -> tuple[np.ndarray, Measured]:
        """Score of every concept on patches of objects; with `order`, their objects are permuted."""
        on_object = self.val.instance
        classes = self.val.classes[on_object]
        alike = attribute_embeddings(classes if order is None else classes[order])
        return monosemanticity(self.coded[name].codes[on_object].tocsc(), alike, self.val.image[on_object], draws)

    def _chosen(self, name: str, truth: np.ndarray, labels: np.ndarray) -> Chosen:
        return choose(self.ranked[name], truth, self.codes[name], labels, self.image, self.draws)


@torch.no_grad()
def coded(dictionary: Dictionary, hidden: np.ndarray) -> Coded:
    """Sparse codes and reconstruction errors of hidden states [n, d], a few thousand tokens at a time."""
    codes, errors = [], []
    for start in range(0, len(hidden), TOKENS_AT_ONCE):
        x = torch.from_numpy(hidden[start : start + TOKENS_AT_ONCE])
        z = dictionary.encode(x)
        codes.append(sparse.csr_matrix(z.numpy()))
        errors.append((x - dictionary.decode(z)).square().sum(1).double().numpy())
    return Coded(sparse.vstack(codes, format="csr"), np.concatenate(errors))


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("score_concepts", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
