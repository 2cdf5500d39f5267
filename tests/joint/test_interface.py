"""The concept interface: padding is invisible, cuts cut, controls are as large as what they replace."""

import math

import pytest
import torch

from segcompass.backbone.token_types import OTHER
from segcompass.joint.codebook import PROMPT_LOGIT, Codebook, PooledSlots, QuerySlots, handicap
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.mapper import SlotMapper
from segcompass.joint.reading import Policy, Reading
from segcompass.joint.tokens import ConceptTokens, ReferenceTokens, WordTokens
from segcompass.joint.whitening import SHRINKAGE, Whitening
from segcompass.study.interface import ModelSettings
from tests.arithmetic import same_sums
from tests.tiny import micro_study

pytestmark = pytest.mark.numerical

THOUGHT = torch.tensor([[False, False, True, True, False, False]] * 2)
EVERYTHING = torch.ones(2, 6, dtype=torch.bool)
POLICY = Policy(vocabulary=50, slots=4, longest=6)


def some_tokens(seed: int = 0, width: int = 16) -> torch.Tensor:
    return torch.randn(2, 6, width, generator=torch.Generator().manual_seed(seed))


def slots_of(kind: type[QuerySlots] | type[PooledSlots], width: int = 16, layers: int = 1, slots: int = 3) -> QuerySlots | PooledSlots:
    torch.manual_seed(0)
    return kind(width, 2, layers, slots)


def test_slots_are_those_of_the_whole_encoder() -> None:
    own, tokens = slots_of(QuerySlots, layers=2), some_tokens()
    assert isinstance(own, QuerySlots)
    logits = torch.nn.functional.pad(handicap(EVERYTHING, THOUGHT), (3, 0))
    whole = own.encoder(torch.cat([own.queries.expand(2, -1, -1), tokens], 1), src_key_padding_mask=logits)[:, :3]
    assert same_sums(own(tokens, EVERYTHING, THOUGHT), whole, terms=64, layers=2)


def test_tokens_of_the_prompt_have_a_handicap_only_where_there_is_a_thought() -> None:
    mask = torch.tensor([[False, True, True, True]] * 2)
    logits = handicap(mask, torch.tensor([[False, False, True, True], [False] * 4]))
    assert logits.tolist() == [[-math.inf, PROMPT_LOGIT, 0.0, 0.0], [-math.inf, 0.0, 0.0, 0.0]]


def test_a_mean_by_the_handicap_by_hand() -> None:
    pooled = slots_of(PooledSlots)
    mask = torch.tensor([[True] * 3 + [False] * 3] * 2)
    thought = torch.zeros(2, 6, dtype=torch.bool)
    thought[0, 2] = True
    tokens, share = some_tokens(), math.exp(PROMPT_LOGIT)
    mean = torch.stack([(share * tokens[0, 0] + share * tokens[0, 1] + tokens[0, 2]) / (2 * share + 1), tokens[1, :3].mean(0)])
    assert isinstance(pooled, PooledSlots)
    assert same_sums(pooled(tokens, mask, thought).flatten(1), pooled.perceptron(mean), terms=64, layers=2)


@pytest.mark.parametrize("kind", [QuerySlots, PooledSlots])
def test_padding_tokens_do_not_reach_the_slots(kind: type[QuerySlots] | type[PooledSlots]) -> None:
    own, tokens = slots_of(kind), some_tokens()
    mask = torch.tensor([[True] * 4 + [False] * 2] * 2)
    changed = tokens.clone()
    changed[:, 4:] = some_tokens(seed=1)[:, 4:]
    assert torch.equal(own(tokens, mask, THOUGHT), own(changed, mask, THOUGHT))
    changed[:, 3] = some_tokens(seed=2)[:, 3]
    assert not torch.allclose(own(tokens, mask, THOUGHT), own(changed, mask, THOUGHT)), "what is read does"


@pytest.mark.parametrize("kind", [QuerySlots, PooledSlots])
def test_slots_of_nothing_are_numbers(kind: type[QuerySlots] | type[PooledSlots]) -> None:
    """Of text read-outs whose thought is empty."""
    nothing = torch.zeros(2, 6, dtype=torch.bool)
    found = slots_of(kind)(some_tokens(), nothing, nothing)
    assert found.shape == (2, 3, 16) and found.isfinite().all()


def test_the_pooled_slots_have_as_many_parameters() -> None:
    for width, layers, slots in ((64, 2, 3), (128, 2, 4), (128, 2, 1), (64, 1, 2)):
        pooled, queries = (slots_of(kind, width, layers, slots) for kind in (PooledSlots, QuerySlots))
        counts = [sum(parameter.numel() for parameter in part.parameters()) for part in (pooled, queries)]
        assert abs(counts[0] - counts[1]) < 0.03 * counts[1]
        assert pooled(some_tokens(width=width), EVERYTHING, THOUGHT).shape == (2, slots, width)


def test_shapes_and_the_cut_of_the_reference_state() -> None:
    torch.manual_seed(0)
    slots, embeddings = torch.randn(2, 3, 16), torch.randn(2, 8, 4, 4)
    one, other = torch.randn(2, 3, 24), torch.randn(2, 3, 24)
    fed, cut = SlotMapper(16, 24, 8, 2, 8, 3, True, True), SlotMapper(16, 24, 8, 2, 8, 3, False, True)
    heat, confidence = fed(slots, one, embeddings)
    assert heat.shape == (2, 3, 16, 16) and confidence.shape == (2, 3)
    assert not torch.allclose(heat, fed(slots, other, embeddings)[0])
    assert torch.equal(cut(slots, one, embeddings)[0], cut(slots, other, embeddings)[0]), "no road around the concepts"
    assert torch.equal(cut(slots, one, embeddings)[1], cut(slots, other, embeddings)[1])
    assert not torch.equal(cut(slots, one, embeddings)[0], cut(slots + 1, one, embeddings)[0])


def test_one_slot_of_each_sequence_has_the_maps_that_it_has_among_all() -> None:
    torch.manual_seed(0)
    slots, embeddings, states, which = torch.randn(2, 3, 16), torch.randn(2, 8, 4, 4), torch.randn(2, 3, 24), torch.tensor([2, 0])
    for road in (True, False):
        mapper = SlotMapper(16, 24, 8, 2, 8, 3, road, True)
        (heat, confidence), (one, sure) = mapper(slots, states, embeddings), mapper.maps(slots, states, mapper.keys(embeddings), which)
        assert one.shape == (2, 1, 16, 16)
        assert same_sums(one[:, 0], heat[torch.arange(2), which], terms=144, layers=4)
        assert same_sums(sure[:, 0], confidence[torch.arange(2), which], terms=64, layers=4)


def test_without_fusion_a_heat_map_is_the_sum_of_the_dot_products() -> None:
    torch.manual_seed(0)
    plain = SlotMapper(16, 24, 8, 2, 8, 3, True, False)
    slots, states, embeddings = torch.randn(1, 3, 16), torch.randn(1, 3, 24), torch.randn(1, 8, 4, 4)
    fused = plain.fuse(torch.cat([plain.slot(slots), states], -1))
    expected = torch.einsum("nkc,ncyx->nkyx", fused, plain.image(embeddings)) / plain.head_width**0.5
    # The middle of bilinear upsampling by 4 keeps the mean of the map.
    heat = plain(slots, states, embeddings)[0]
    assert same_sums(heat.mean((2, 3)), expected.mean((2, 3)), terms=24, layers=2)


def test_whitened_features_are_centred_and_alike_in_every_direction_and_unchanged_before_the_fit() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4000, 4, generator=generator) * torch.tensor([9.0, 3.0, 3.0, 1.0]) @ torch.randn(4, 4, generator=generator) + 5.0
    whitening = Whitening(4)
    assert torch.equal(whitening(features), features)
    whitening.fit(features)
    assert whitening(features).mean(0).abs().max() < 1e-3
    before, after = (torch.linalg.eigvalsh(torch.cov(values.T)) for values in (features, whitening(features)))
    # A direction of variance v ends at v / (v + shrinkage * mean variance).
    assert same_sums(after, before / (before + SHRINKAGE * before.mean()), terms=len(features), layers=3)


def test_features_that_are_all_the_same_whiten_to_zero() -> None:
    whitening = Whitening(4)
    whitening.fit(torch.full((10, 4), 7.0))
    assert torch.equal(whitening(torch.full((2, 4), 7.0)), torch.zeros(2, 4))


def whole(**changes: object) -> ConceptInterface:
    settings = ModelSettings.model_validate(micro_study().interface.model.model_dump() | changes)
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(64, 24), dim=1)
    return ConceptInterface(settings, directions, 8, POLICY)


def shown(seed: int = 0) -> tuple[Reading, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    types = torch.tensor([[OTHER, 1, 2, 3, 3, OTHER], [1, 1, 3, 3, 3, OTHER]], dtype=torch.uint8)
    codes = torch.rand(2, 6, 64, generator=generator) * (torch.rand(2, 6, 64, generator=generator) < 0.1) * (types != OTHER)[..., None]
    ids = torch.randint(0, 50, (2, 6), generator=generator)
    reading = Reading(codes, types, ids, torch.randn(2, POLICY.slots, 24, generator=generator))
    return reading, torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize(
    ("changes", "tokens", "slots"),
    [
        ({}, ConceptTokens, QuerySlots),
        ({"readout": "words"}, WordTokens, QuerySlots),
        ({"readout": "references"}, ReferenceTokens, QuerySlots),
        ({"codebook": "pooled"}, ConceptTokens, PooledSlots),
    ],
)
def test_the_study_names_what_slots_are_made_from(changes: dict[str, object], tokens: type, slots: type) -> None:
    codebook = whole(**changes).codebook
    assert isinstance(codebook, Codebook) and type(codebook.tokens) is tokens and type(codebook.slots) is slots


def test_rows_begin_as_the_study_says() -> None:
    drawn, directed = (whole(rows=rows).codebook.tokens for rows in ("random", "dictionary"))
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(64, 24), dim=1)
    assert isinstance(drawn, ConceptTokens) and isinstance(directed, ConceptTokens)
    angles = [
        torch.nn.functional.normalize(part.rows, dim=1) @ torch.nn.functional.normalize(part.rows, dim=1).T for part in (drawn, directed)
    ]
    assert same_sums(angles[1], directions @ directions.T, terms=64, layers=2)
    assert not torch.allclose(angles[0], directions @ directions.T, atol=0.2)


READS = {
    "concepts": ({}, {"codes", "states"}),
    "concepts alone": ({"reference_state": False}, {"codes"}),
    "words": ({"readout": "words"}, {"ids", "states"}),
    "words alone": ({"readout": "words", "reference_state": False}, {"ids"}),
    "references": ({"readout": "references"}, {"states"}),
}


@pytest.mark.parametrize("name", READS)
def test_an_interface_reads_what_its_variant_says_and_nothing_else(name: str) -> None:
    changes, roads = READS[name]
    interface, (one, embeddings), (other, _) = whole(**changes).eval(), shown(), shown(seed=1)
    with torch.no_grad():
        heat, confidence = interface(one, embeddings)
        for road, reading in {
            "codes": Reading(other.codes, one.token_types, one.ids, one.reference_states),
            "ids": Reading(one.codes, one.token_types, other.ids, one.reference_states),
            "states": Reading(one.codes, one.token_types, one.ids, other.reference_states),
        }.items():
            changed_heat, changed_confidence = interface(reading, embeddings)
            assert torch.equal(changed_heat, heat) == torch.equal(changed_confidence, confidence) == (road not in roads), road


@pytest.mark.parametrize("readout", ["concepts", "words", "references"])
def test_fewer_slots_than_the_answer_has_reference_tokens_read_the_first_ones(readout: str) -> None:
    interface, (reading, embeddings) = whole(slots=2, readout=readout).eval(), shown()
    heat, confidence = interface(reading, embeddings)
    assert heat.shape[:2] == confidence.shape == (2, 2)
    changed = reading.reference_states.clone()
    changed[:, 2:] += 1.0
    unread = Reading(reading.codes, reading.token_types, reading.ids, changed)
    assert torch.equal(interface(unread, embeddings)[0], heat)
    changed[:, 1] += torch.randn(24)
    assert not torch.equal(interface(Reading(reading.codes, reading.token_types, reading.ids, changed), embeddings)[0], heat)


def test_the_control_of_the_reference_states_has_the_parameters_of_the_default_interface() -> None:
    """What Table 4 compares: at the sizes of the default study both codebooks are within one per cent."""
    sizes = {"query_width": 128, "query_heads": 4, "query_layers": 2}
    torch.manual_seed(0)
    counts = []
    for readout in ("concepts", "references"):
        settings = ModelSettings.model_validate(micro_study().interface.model.model_dump() | sizes | {"readout": readout})
        interface = ConceptInterface(settings, torch.randn(1024, 128), 64, POLICY)
        counts.append(sum(parameter.numel() for parameter in interface.parameters()))
    assert abs(counts[1] - counts[0]) < 0.01 * counts[0]
