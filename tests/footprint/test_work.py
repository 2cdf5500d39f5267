"""Operations by hand and against what torch counts in the models themselves; hours and bytes by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.sam.modeling_sam import SamModel

from segcompass.activations.typed_sample import CHUNKS
from segcompass.backbone.sam import SamSegmenter
from segcompass.footprint.architecture import LanguageModel, SegmenterSize
from segcompass.footprint.corpus import (
    EXPRESSIONS,
    GREFCOCO,
    IMAGES,
    Corpus,
    evaluated_expressions,
    release_sample_bytes,
    token_bytes,
    training_corpus,
)
from segcompass.footprint.memory import dictionary_width
from segcompass.footprint.sizes import backbone_sizes
from segcompass.footprint.work import (
    A100,
    SAMPLED_CHUNKS,
    Gpu,
    Work,
    blocks_forward,
    cache_work,
    decoding,
    decoding_reads,
    dictionary_work,
    encoder_forward,
    mask_forward,
    on_the_fly_work,
    vision_forward,
)
from segcompass.study.concepts import Neurons, Pca
from segcompass.study.load import load_study
from tests.tiny import micro_study, pictures, tiny_sam, tiny_vlm

SMALL = LanguageModel(8, 3, 4, 2, 2, 10, 20, False)
PAPER = load_study(Path("params/paper_llava13b.yaml"))
PCA, NEURONS = Pca(architecture="pca", width=100), Neurons(architecture="neurons", like="relu_l1")
CONTROLS = PAPER.model_copy(update={"saes": PAPER.saes | {"pca": PCA, "neurons": NEURONS}})


def counted(model: Any, run: Callable[[], object]) -> int:
    """Operations that torch counts; it sees attention where scores are a product of their own."""
    assert model.config._attn_implementation == "eager"
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def test_blocks_against_the_model() -> None:
    vlm = tiny_vlm()
    vlm.model.set_attn_implementation("eager")
    language = backbone_sizes(micro_study(), Path.cwd()).language
    hidden = torch.randn(2, 30, language.width)
    positions = torch.arange(30).expand(2, -1)
    found = counted(vlm.model, lambda: vlm.blocks(hidden, None, positions, 0, 2))
    norms = 2 * 2 * 2.0 * (2 * language.width) * 30  # the formula counts a norm's weights as if they were a product's
    assert found == pytest.approx(2 * blocks_forward(language, 2, 30) - norms, rel=1e-9)


def test_vision_tower_encoder_and_masks_against_the_models() -> None:
    vlm, sizes = tiny_vlm(), backbone_sizes(micro_study(), Path.cwd())
    vlm.model.set_attn_implementation("eager")
    sam = SamSegmenter(SamModel._from_config(tiny_sam().model.config, attn_implementation="eager"))
    prompts = vlm.prompts(pictures(1), ["ring"])
    tower = counted(vlm.model, lambda: vlm.model.model.get_image_features(**prompts.vision_inputs))
    assert vision_forward(sizes) == pytest.approx(tower, rel=0.12)
    inputs = sam.inputs(pictures(1))
    assert encoder_forward(sizes.segmenter) == pytest.approx(counted(sam.model, lambda: sam.embed(inputs)), rel=0.15)
    embeddings = sam.embed(inputs)
    masks = counted(sam.model, lambda: sam.decode(embeddings, torch.zeros(1, 3, sam.mask_side, sam.mask_side)))
    assert mask_forward(sizes.segmenter) == pytest.approx(masks / 3, rel=0.1)


def test_windows_are_padded() -> None:
    """A grid of 4 in windows of 3: padded to 6 x 6, each position sees 9; beside it one global block of 16 x 16 pairs."""
    sam = SegmenterSize(8, 2, 1, 16, 2, 8, 3, 2, 8, 16, 32)
    assert encoder_forward(sam) == 2 * sam.encoder * 16 + 4 * 8 * (16 * 16 + 36 * 9)


def test_decoding_by_hand() -> None:
    """Two tokens behind a prompt of five, beside another rollout: pairs 7 + 9 = 16, query width 8, block 448, head 160."""
    assert decoding(SMALL, 5, 2, 2) == 2 * (3 * 2 * 448 + 2 * 160) + 3 * 4 * 16 * 8
    """Each of two steps reads 3 blocks and the head at 2 bytes, and the keys and values (width 4) of 2 prompts: 5 + 2 * 1.5 tokens."""
    assert decoding_reads(SMALL, 2, 2, 5, 2, 2) == 2 * ((3 * 448 + 160) * 2 + 2 * 3 * 4 * 2 * (5 + 2 * 1.5) * 2)


def test_hours_add_the_three_kinds() -> None:
    gpu = Gpu("", 0, 100.0, 10.0, 5.0)
    assert (Work(360_000, 0, 0) + Work(0, 36_000, 18_000) * 2).hours(gpu, 0.5) == pytest.approx((3600 + 7200 + 7200) / 0.5 / 3600)
    assert A100.half / A100.single == 16


def test_dictionary_work_by_hand() -> None:
    sizes = backbone_sizes(PAPER, Path.cwd())
    assert dictionary_work(PAPER, sizes, "relu_l1", 7).single == 12 * 5120 * 65536 * 25000 * 4096
    assert dictionary_work(PAPER, sizes, "random", 7) == Work() == dictionary_work(CONTROLS, sizes, "neurons", 7)
    # The covariance of 7 tokens: 7 products of a column with a row.
    assert dictionary_work(CONTROLS, sizes, "pca", 7).single == 7 * 2 * 5120**2
    assert dictionary_width(CONTROLS, "neurons", 5120) == 5120 and dictionary_width(CONTROLS, "pca", 5120) == 100


def test_on_the_fly_every_dictionary_pays_its_forward_passes() -> None:
    """Half an epoch of training tokens, and at most one whole epoch for the held-out ones."""
    sizes, tokens = backbone_sizes(PAPER, Path.cwd()), 2 * 25000 * 4096
    passes = cache_work(PAPER, sizes, 1000)
    assert on_the_fly_work(PAPER, sizes, "relu_l1", 1000, tokens) == dictionary_work(PAPER, sizes, "relu_l1", tokens) + passes * 1.5
    assert SAMPLED_CHUNKS == CHUNKS
    # 64 chunks of 32 expressions are more than 1,000 expressions, and half of 4,096.
    assert on_the_fly_work(PAPER, sizes, "random", 1000, tokens) == passes * 2
    assert on_the_fly_work(PAPER, sizes, "random", 4096, tokens) == cache_work(PAPER, sizes, 4096) * 1.5
    assert on_the_fly_work(CONTROLS, sizes, "pca", 1000, tokens) == dictionary_work(CONTROLS, sizes, "pca", tokens) + passes * 2


def test_the_published_counts_add_up() -> None:
    """RefCOCO has 142,210 expressions in all; the joint benchmarks' training images are RefCOCO's and, at most, RefCOCOg's beside them."""
    assert sum(EXPRESSIONS["refcoco", "unc"].values()) == 142210 and sum(IMAGES["refcoco", "unc"].values()) == 19994
    grefcoco = round(GREFCOCO * 16994 / 19994)
    assert training_corpus(PAPER, Path("nowhere")) == Corpus(16994 + 21899, 120624 + 120191 + 80512 + grefcoco, False)
    gref_evaluated = sum(round(GREFCOCO * images / 19994) for images in (1500, 750, 750))
    refer = 10834 + 5657 + 5095 + 10758 + 5726 + 4889 + 4896 + 9602
    assert evaluated_expressions(PAPER, Path("nowhere")) == refer + gref_evaluated + 200 + 779


def test_a_cached_token_and_the_releases_padded_sample() -> None:
    """4,096 numbers of 2 bytes x 1,400 positions are the 11.5 MB that the release states; ours adds 9 bytes a token, and no padding."""
    assert round(release_sample_bytes(4096) / 1e6, 1) == 11.5
    assert token_bytes(5120, PAPER.activations) == 5120 * 2 + 9
    sizes = backbone_sizes(PAPER, Path.cwd())
    assert Corpus(2, 10, False).tokens(sizes, 128) == 2 * 576 + 10 * (80 + 128)
