"""The whole scoring of a dictionary with planted concepts: what is there is found, what is not is not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from segcompass.activations.typed_sample import TypedSample
from segcompass.concepts.every_concept import BACKGROUND
from segcompass.concepts.labelled import LabelledTokens
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.neurons import NeuronDictionary
from segcompass.sae.pca import PcaDictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.untrained import UntrainedDictionary, fit_scale
from segcompass.stages.score_concepts import Scores
from segcompass.study.analysis import BootstrapSettings
from segcompass.study.scoring import ScoreSettings
from tests.concepts.drawn import COLOURS, drawn_tokens

pytestmark = pytest.mark.numerical

SETTINGS = ScoreSettings(coverage_fractions=[0.25, 1.0], strongest=3, seed=0)


@pytest.fixture(scope="module")
def scores() -> Scores:
    """Concept i of the trained dictionary is hidden dimension i, so the first three are the drawn colours."""
    train, val = drawn_tokens(images=60, seed=0), drawn_tokens(images=60, seed=1)
    torch.manual_seed(0)
    trained, random = TopKDictionary(6, 6, 1), UntrainedDictionary(6, 6)
    with torch.no_grad():
        trained.W_enc.copy_(torch.eye(6))
        trained.W_dec.copy_(torch.eye(6))
    _draw(random, train)
    dictionaries = {"trained": trained.requires_grad_(False), "random": random.requires_grad_(False)}
    return Scores(train, val, dictionaries, SETTINGS, BootstrapSettings(samples=200, level=0.95, seed=0))


def _draw(random: UntrainedDictionary, train: LabelledTokens) -> None:
    hidden = torch.from_numpy(train.hidden)
    sample = TypedSample(hidden, torch.zeros(len(hidden), dtype=torch.uint8), {0: 1.0})
    random.match_sparsity(sample, {0: 1.0})
    fit_scale(random, sample)


def test_hidden_units_and_components_are_scored_beside_a_control_of_another_width() -> None:
    train, val = drawn_tokens(images=30, seed=0), drawn_tokens(images=30, seed=1)
    torch.manual_seed(0)
    random, units, components = UntrainedDictionary(6, 9), NeuronDictionary(6, 1), PcaDictionary(6, 4)
    _draw(random, train)
    components.fit([torch.from_numpy(train.hidden)])
    bootstrap = BootstrapSettings(samples=100, level=0.95, seed=0)
    for dictionary in (units, components):
        dictionaries: dict[str, Dictionary] = {"trained": dictionary.requires_grad_(False), "random": random.requires_grad_(False)}
        scores = Scores(train, val, dictionaries, SETTINGS, bootstrap)
        metrics = scores.metrics().set_index(["token_type", "metric"])
        # Rows of either are orthogonal, so no row is like another; random ones are. Difference and interval are theirs.
        coherence = metrics.loc[("all", "decoder_coherence_nearest")]
        assert abs(coherence["trained"]) < 1e-5 and coherence["random"] > 0.2 and coherence["tells_trained_from_random"]
        assert metrics.loc[("all", "l0"), "trained"] == (1 if dictionary is units else 4)
        concepts = scores.every_concept()["concepts"]
        assert concepts["dictionary"].value_counts().to_dict() == {"random": 9, "trained": dictionary.features}
        purity = scores.purity().set_index(["value", "metric"])
        if dictionary is units:  # the first three are the drawn colours
            assert [purity.loc[(colour, "auroc"), "concept"] for colour in COLOURS] == [0, 1, 2]


def test_planted_colours_are_pure_and_shuffled_ones_are_not(scores: Scores) -> None:
    rows = scores.purity().set_index(["value", "metric"])
    for number, colour in enumerate(COLOURS):
        assert rows.loc[(colour, "auroc"), "concept"] == number
        assert rows.loc[(colour, "auroc"), "trained"] > 0.99 and rows.loc[(colour, "f1"), "trained"] == 1.0
        assert abs(rows.loc[(colour, "auroc"), "shuffled"] - 0.5) < 0.1
        assert rows.loc[(colour, "auroc"), "tells_truth_from_shuffled"]


def test_fidelity_is_that_of_the_dictionary_itself(scores: Scores) -> None:
    frame = scores.metrics().set_index(["token_type", "metric"])
    dictionary = scores.dictionaries["trained"]
    for kind, mask in scores.val.kinds().items():
        x = torch.from_numpy(scores.val.hidden[mask])
        z = dictionary.encode(x)
        error = (x - dictionary.decode(z)).square().sum()
        expected = {"explained_variance": 1 - error / (x - x.mean(0)).square().sum(), "mse": error / len(x)}
        expected |= {"l0": (z != 0).sum() / len(x), "dead_fraction": (z == 0).all(0).float().mean()}
        for metric, value in expected.items():
            assert frame.loc[(kind, metric), "trained"] == pytest.approx(float(value), rel=1e-4, abs=1e-9), (kind, metric)
    assert frame.loc[("instance", "explained_variance"), "tells_trained_from_random"]
    mono = frame.loc[("instance", "monosemanticity")]
    assert mono["trained"] > 0.99 > mono["shuffled"] and mono["tells_truth_from_shuffled"]


def test_every_concept_has_its_patches_words_and_values(scores: Scores) -> None:
    found = scores.every_concept()
    concepts = found["concepts"][found["concepts"]["dictionary"] == "trained"]
    assert concepts["value"][:3].tolist() == COLOURS and (concepts["density_instance"][:3] > 0.1).all()
    patches = found["top_patches"]
    assert patches.groupby("concept").size().max() == 3
    assert (patches[patches["concept"] == 0]["colour"] == "red").all()
    assert BACKGROUND in set(patches[patches["concept"] >= 3]["colour"])
    words = found["top_words"]
    assert set(words["word"]) <= {"find", "target"} and words["share"].between(0, 1).all()
    density = found["density"]
    per_kind = density.groupby(["dictionary", "token_type"])["concepts"].sum()
    assert (per_kind == 6).all(), "every concept falls into one bin"


def test_coverage_stands_beside_its_controls(scores: Scores) -> None:
    frame = scores.coverage()
    assert list(frame["fraction"]) == [0.25, 1.0] * 2 and (frame.loc[frame["fraction"] == 1.0, "trained"] == 1).all()
    assert (frame.loc[frame["fraction"] == 0.25, "random_tokens"] == 0.25).all()


def test_photographs_without_attributes_are_scored_all_the_same(scores: Scores) -> None:
    bare = [replace(tokens, classes=tokens.classes[:, :0], attributes={}) for tokens in (scores.train, scores.val)]
    plain = Scores(*bare, scores.dictionaries, SETTINGS, BootstrapSettings(samples=100, level=0.95, seed=0))
    assert plain.purity().empty and "monosemanticity" not in set(plain.metrics()["metric"])
    assert plain.every_concept()["concepts"]["monosemanticity"].isna().all()
    pd.testing.assert_frame_equal(plain.coverage()[["trained"]], scores.coverage()[["trained"]])
    assert np.isclose(plain.metrics()["trained"][0], scores.metrics()["trained"][0])
