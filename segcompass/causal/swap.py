"""Swap: an attribute's concepts are exchanged between the two sides of a counterfactual pair; image, words and reference states stay.

Arms, of which each exchanges something of the edited side's tokens with those of the other side that correspond to them:
* `attribute`: the k concepts that carry the attribute (`carriers.py`), on tokens of the thought; `attribute_text`: of the instruction too.
* `matched`: random concepts in their place; `elsewhere`: random concepts that change by as much on the same tokens (`swap_controls.py`).
* `whole`: all concepts, the most that an exchange of codes can do.
* `direction`: hidden states' coordinates in the span of the values' differences of means, encoded again: the supervised ceiling.
* `neurons`, `components`: k coordinates of the hidden states, or k of their principal components, likewise encoded again.
* `identity`: no concept, through the same steps; the sham.
* `ceiling`: nothing is exchanged; the mask of the sample that asks for the expected target in the same picture.

Measures; `at` is the attribute whose concepts are exchanged. Masks are those of the slots that were fixed before the edit.
Pairs of kind `cause`, whose own target is one of two twins, and whose other side names the other twin:
* `cause` (`at` is the pair's own attribute): 1 where the mask has a greater IoU with the expected target, the other twin, than with the own
  target, else 0. Null value: that of `identity`; most: that of `ceiling`.
* `cause_iou`: IoU with the expected target after less before; -1 to 1, null value 0. Divide its mean by that of `ceiling`.
* `isolation` (`at` is another attribute, one a pair, by turns): 1 where the mask has a greater IoU with the own target, else 0; null value:
  that of `identity`, 1 where the interface is right. `isolation_iou`: IoU with the own target after less before, null value 0.
Pairs of kind `isolation`, whose expression does not name the attribute that differs (`at`, the pair's own):
* `stays`: 1 where the mask has a greater IoU with the target than with any other object of the scene, else 0. `stays_iou`: IoU with the
  target after less before, null value 0.
`disentanglement` (disentanglement.py) is formed of means of `cause` and `isolation`. Source: RAVEL and SAEBench, named there; ours are the
controls, the ceilings and pictures in place of facts. What it misses: an interface that reads the attribute from codes of visual tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from segcompass.causal.carriers import Carriers
from segcompass.causal.code_exchange import with_concepts_of, with_subspace_of
from segcompass.causal.disentanglement import disentanglement
from segcompass.causal.examples import ARMS, SwapExample
from segcompass.causal.measurements import Balance, Measurement, geometric_mean
from segcompass.causal.overlap import iou
from segcompass.causal.pair_runs import PairChunk, PairRuns, Where
from segcompass.causal.response import Pictures, Responding, Response
from segcompass.causal.swap_controls import PairDifference, changed_elsewhere, matched_in_mass
from segcompass.causal.token_pool import Encoding, tokens_of
from segcompass.datasets.masks import Rle, decode, encode
from segcompass.datasets.samples import Sample
from segcompass.joint.reading import Codes
from segcompass.sae.sparse_tokens import SparseTokens

OWN_ARMS = ("identity", "attribute", "attribute_text", "matched", "elsewhere", "whole", "direction", "neurons", "components")
"""Arms on the pair's own attribute."""
OTHER_ARMS = ("attribute", "matched", "elsewhere", "direction", "neurons", "components")
"""Arms on another attribute: those that single one out."""
STAY_ARMS = ("identity", "attribute", "matched", "elsewhere", "whole", "direction", "neurons", "components")
"""Arms on pairs whose expression does not name the attribute."""

ELSEWHERE = 1
"""Tells the draws of `elsewhere` from those of `matched`."""

Scenes = Mapping[int, Sequence[Rle]]
"""Scene -> visible masks of its objects, by object id."""


@dataclass
class Swaps:
    """Swaps of one interface."""

    pairs: PairRuns
    responding: Responding
    encoding: Encoding
    carriers: Carriers
    row_lengths: Tensor
    """float [F], of the codebook's rows."""
    seed: int
    kept: int
    """Pairs of an attribute, the first ones, of which examples are kept."""
    balances: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    """(Arm, attribute, quantity) -> ratio of each pair."""
    examples: list[SwapExample] = field(default_factory=list)
    """Of the pairs that were measured so far."""

    def measure(self, count: int, size: int, scenes: Scenes) -> Iterator[Measurement]:
        """All arms with `count` concepts an attribute, `size` pairs at a time."""
        for attribute in self.pairs.attributes:
            for chunk in tqdm(list(self.pairs.chunks(attribute, "cause", size)), desc=f"swap {attribute}", disable=None):
                yield from self._caused(chunk, attribute, count)
            for chunk in self.pairs.chunks(attribute, "isolation", size):
                yield from self._isolated(chunk, attribute, count, scenes)

    def disentanglement(self, count: int, size: int) -> float:
        """That of `count` concepts an attribute on tokens of the thought."""
        cause: dict[str, list[float]] = {}
        isolation: dict[tuple[str, str], list[float]] = {}
        for attribute in self.pairs.attributes:
            for chunk in self.pairs.chunks(attribute, "cause", size):
                case = self._case(chunk)
                after = case.masks(*self._edited(chunk, "attribute", [attribute] * len(chunk.pairs), count))
                cause.setdefault(attribute, []).extend(float(new > old) for old, new in case.overlaps(after))
                others = self._others(chunk, attribute)
                if others:
                    after = case.masks(*self._edited(chunk, "attribute", others, count))
                    for other, (old, new) in zip(others, case.overlaps(after), strict=True):
                        isolation.setdefault((other, attribute), []).append(float(old > new))
        means = {key: float(np.mean(values)) for key, values in isolation.items()}
        return disentanglement({key: float(np.mean(values)) for key, values in cause.items()}, means)

    def balance(self) -> Iterator[Balance]:
        """Of the controls that were given so far in the place of the pairs' own attributes."""
        for (arm, attribute, quantity), ratios in self.balances.items():
            yield Balance("swap", arm, attribute, quantity, "thought", geometric_mean(np.array(ratios)))

    def _caused(self, chunk: PairChunk, attribute: str, count: int) -> Iterator[Measurement]:
        case = self._case(chunk)
        before = case.overlaps(case.before.masks)
        others = self._others(chunk, attribute)
        shown: dict[str, tuple[Codes, list[np.ndarray]]] = {}
        for arm in OWN_ARMS:
            codes, where = self._edited(chunk, arm, [attribute] * len(chunk.pairs), count)
            masks = case.masks(codes, where)
            if arm in ARMS:
                shown[arm] = codes, masks
            after = case.overlaps(masks)
            for place, ((_, expected), (own, now)) in enumerate(zip(before, after, strict=True)):
                yield self._row(chunk, place, arm, attribute, "cause", float(now > own))
                yield self._row(chunk, place, arm, attribute, "cause_iou", now - expected)
                if arm == "identity" and others:
                    yield self._row(chunk, place, arm, others[place], "isolation", float(own > now))
                    yield self._row(chunk, place, arm, others[place], "isolation_iou", own - before[place][0])
        for arm in OTHER_ARMS if others else ():
            after = case.overlaps(case.masks(*self._edited(chunk, arm, others, count)))
            for place, ((was, _), (own, now)) in enumerate(zip(before, after, strict=True)):
                yield self._row(chunk, place, arm, others[place], "isolation", float(own > now))
                yield self._row(chunk, place, arm, others[place], "isolation_iou", own - was)
        for place, ((_, expected), (own, now)) in enumerate(zip(before, case.overlaps(self._unedited(chunk, case)), strict=True)):
            yield self._row(chunk, place, "ceiling", attribute, "cause", float(now > own))
            yield self._row(chunk, place, "ceiling", attribute, "cause_iou", now - expected)

        self.examples += [self._example(chunk, case, place, shown) for place, number in enumerate(chunk.numbers) if number < self.kept]

    def _isolated(self, chunk: PairChunk, attribute: str, count: int, scenes: Scenes) -> Iterator[Measurement]:
        case = self._case(chunk)
        objects = [[decode(rle) for rle in scenes[side.scene_id]] for side in chunk.edited]
        targets = [int(side.targets[0]) for side in chunk.edited]
        before = [iou(mask, of[target]) for mask, of, target in zip(case.before.masks, objects, targets, strict=True)]
        for arm in STAY_ARMS:
            after = case.masks(*self._edited(chunk, arm, [attribute] * len(chunk.pairs), count))
            for place, (mask, of, target) in enumerate(zip(after, objects, targets, strict=True)):
                overlaps = [iou(mask, item) for item in of]
                rest = overlaps[:target] + overlaps[target + 1 :]
                yield self._row(chunk, place, arm, attribute, "stays", float(overlaps[target] > max(rest, default=0.0)))
                yield self._row(chunk, place, arm, attribute, "stays_iou", overlaps[target] - before[place])

    def _edited(self, chunk: PairChunk, arm: str, attributes: list[str], count: int) -> tuple[Codes, Where]:
        """Codes of the edited sides' tokens under an arm, an attribute for each pair; and which tokens they are."""
        where: Where = "text" if arm.endswith("_text") else "thought"
        own, other, group = chunk.tokens(where)
        pool, hidden = chunk.answers.pool, chunk.answers.hidden
        match arm.removesuffix("_text"):
            case "whole":
                return pool.at(other), where
            case "direction" | "neurons" | "components" as subspace:
                states = hidden[own]
                for attribute in sorted(set(attributes)):
                    here = torch.tensor([one == attribute for one in attributes], device=own.device)[group]
                    basis = self.carriers.basis(subspace, attribute, count)
                    states = torch.where(here[:, None], with_subspace_of(hidden[other], hidden[own], basis), states)
                return self.encoding.of(states), where
            case "elsewhere":
                return self._elsewhere(chunk, attributes, count), where
            case "attribute":
                chosen = [self.carriers.chosen(attribute, count, self.encoding.dictionary.features) for attribute in attributes]
            case "matched":
                chosen = self._matched(chunk, attributes, count)
            case _:
                chosen = [torch.zeros_like(self.row_lengths, dtype=torch.bool)] * len(attributes)
        return with_concepts_of(pool.at(other), pool.at(own), torch.stack(chosen), group), where

    def _matched(self, chunk: PairChunk, attributes: list[str], count: int) -> list[Tensor]:
        """Control concepts bool [F] of each pair, whose balance is kept."""
        found = []
        for place, (own, other, chosen) in enumerate(self._by_pair(chunk, attributes, count)):
            difference = PairDifference.of(own, other, self.row_lengths)
            control = matched_in_mass(difference, chosen, self._generator(chunk, place, attributes[place]))
            if attributes[place] == chunk.pairs[place].attribute:
                self._balanced("matched", attributes[place], difference.ratios(np.flatnonzero(chosen), control))
            mask = torch.zeros_like(self.row_lengths, dtype=torch.bool)
            mask[torch.from_numpy(control).to(mask.device)] = True
            found.append(mask)
        return found

    def _elsewhere(self, chunk: PairChunk, attributes: list[str], count: int) -> Codes:
        """Codes of the edited sides' thoughts, in which other concepts change by as much, whose balance is kept."""
        found = []
        for place, (own, other, chosen) in enumerate(self._by_pair(chunk, attributes, count)):
            edited = changed_elsewhere(own, other, chosen, self.row_lengths, self._generator(chunk, place, attributes[place], ELSEWHERE))
            if attributes[place] == chunk.pairs[place].attribute:
                done, wanted = (PairDifference.of(own, codes, self.row_lengths) for codes in (edited, other))
                self._balanced("elsewhere", attributes[place], wanted.ratios(np.flatnonzero(chosen), np.flatnonzero(~chosen), done))
            found.append(edited)
        if isinstance(found[0], SparseTokens):
            return SparseTokens.concatenated([codes for codes in found if isinstance(codes, SparseTokens)])
        return torch.cat([codes for codes in found if isinstance(codes, Tensor)])

    def _by_pair(self, chunk: PairChunk, attributes: list[str], count: int) -> Iterator[tuple[Codes, Codes, np.ndarray]]:
        """Codes of each pair's own thought, those in their place, and its attribute's concepts, bool [F]."""
        own, other, group = chunk.tokens("thought")
        pool = chunk.answers.pool
        for place, attribute in enumerate(attributes):
            here = group == place
            chosen = self.carriers.chosen(attribute, count, len(self.row_lengths)).cpu().numpy()
            yield pool.at(own[here]), pool.at(other[here]), chosen

    def _generator(self, chunk: PairChunk, place: int, attribute: str, *more: int) -> np.random.Generator:
        """Draws the control of a pair: the same however pairs are put together."""
        attributes = self.pairs.attributes
        return np.random.default_rng(
            [self.seed, attributes.index(chunk.pairs[0].attribute), attributes.index(attribute), chunk.numbers[place], *more]
        )

    def _balanced(self, arm: str, attribute: str, ratios: Mapping[str, float]) -> None:
        for quantity, ratio in ratios.items():
            self.balances.setdefault((arm, attribute, quantity), []).append(ratio)

    def _example(self, chunk: PairChunk, case: "_Case", place: int, shown: Mapping[str, tuple[Codes, list[np.ndarray]]]) -> SwapExample:
        """One pair under the exchanges of `shown`: arm -> codes of the chunk's thoughts after it, and masks."""
        pair, side, values = chunk.pairs[place], chunk.edited[place], chunk.values[place]
        own, _, group = chunk.tokens("thought")
        here = torch.nonzero(group == place).flatten()
        unedited = chunk.answers.pool.at(own[here])
        concepts = {arm: PairDifference.of(unedited, tokens_of(codes, here), self.row_lengths).moved for arm, (codes, _) in shown.items()}
        return SwapExample(
            *(pair.pair, pair.attribute, pair.benchmark, self.pairs.split, values),
            *(side.sample_id, chunk.giving[place].sample_id, side.expected_sample_id),
            encode(case.before.masks[place]),
            {arm: encode(masks[place]) for arm, (_, masks) in shown.items()},
            concepts,
        )

    def _others(self, chunk: PairChunk, attribute: str) -> list[str]:
        """Another attribute for each pair, by turns; none where the pairs have one alone."""
        others = [name for name in self.pairs.attributes if name != attribute]
        return [others[number % len(others)] for number in chunk.numbers] if others else []

    def _case(self, chunk: PairChunk) -> "_Case":
        samples = self.pairs.of_sides(chunk.edited)
        expected = [self.pairs.samples[side.expected_sample_id] for side in chunk.edited]
        pictures = self.pairs.runs.pictures(samples)
        before = self.responding.to(chunk.answers.pool.reading([one.layout for one in chunk.own], chunk.reference_states), pictures)
        return _Case(self.responding, chunk, pictures, before, _targets(samples), _targets(expected))

    def _unedited(self, chunk: PairChunk, case: "_Case") -> list[np.ndarray]:
        """Masks of the samples that ask for the expected targets."""
        named = zip(chunk.pairs, chunk.edited, strict=True)
        answers = self.pairs.runs.answers([self.pairs.place(pair.benchmark, side.expected_sample_id) for pair, side in named])
        reading = answers.pool.reading([block.layout for block in answers.blocks], answers.reference_states)
        return self.responding.to(reading, case.pictures).masks

    def _row(self, chunk: PairChunk, place: int, arm: str, at: str, measure: str, value: float) -> Measurement:
        pair, sample_id = chunk.pairs[place], chunk.edited[place].sample_id
        return Measurement("swap", arm, at, measure, pair.benchmark, self.pairs.split, sample_id, pair.pair, value)


@dataclass(frozen=True)
class _Case:
    """The edited sides of a chunk before any edit, and what is wanted of them."""

    responding: Responding
    chunk: PairChunk
    pictures: Pictures
    before: Response
    own: list[np.ndarray]
    expected: list[np.ndarray]

    def masks(self, codes: Codes, where: Where) -> list[np.ndarray]:
        """After an exchange of the tokens' codes."""
        own, _, _ = self.chunk.tokens(where)
        pool, places = self.chunk.answers.pool.with_tokens(codes, own)
        reading = pool.reading(self.chunk.layouts(places, where), self.chunk.reference_states)
        return self.responding.to(reading, self.pictures, self.before.slots).masks

    def overlaps(self, masks: list[np.ndarray]) -> list[tuple[float, float]]:
        """IoU of each mask with the own and with the expected target."""
        return [(iou(mask, own), iou(mask, new)) for mask, own, new in zip(masks, self.own, self.expected, strict=True)]


def _targets(samples: Sequence[Sample]) -> list[np.ndarray]:
    return [decode(sample.target) for sample in samples]
