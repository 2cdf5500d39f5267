"""A running backbone gives what its cache holds: the same tokens in the same order, and hence the same dictionary."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from segcompass.activations.cache import CacheReader, CacheWriter, StoredChunks
from segcompass.activations.corpus_passes import cache_corpus
from segcompass.activations.forward_passes import ForwardPasses, Reading, RunningBackbone, read_tokens
from segcompass.activations.stream import TokenStream
from segcompass.backbone.interface import INSTRUCTION, THOUGHT, VISUAL
from segcompass.datasets.artefact import manifest
from segcompass.datasets.corpus import Corpus
from segcompass.datasets.masks import empty
from segcompass.datasets.samples import Sample, write_samples
from segcompass.errors import InputError
from segcompass.sae.metrics import held_out_metrics
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import train
from segcompass.study.corpus import CorpusSettings
from segcompass.study.shards import WHOLE, Shard
from tests.sae.planted import SETTINGS
from tests.tiny import micro_study, pictures, tiny_vlm

LONGEST = 6
HELD_OUT = 0.3
TEXTS = ("the red ring", "the large blue square on the left", "the striped triangle")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images with one, two or three expressions."""
    artefact = tmp_path_factory.mktemp("data")
    samples = []
    for number, picture in enumerate(pictures(5)):
        path = artefact / "root" / f"i{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
        nothing = empty(*picture.shape[:2])
        for place, text in enumerate(TEXTS[: 1 + number % 3]):
            samples.append(Sample(f"s{number}{place}", path.name, *picture.shape[:2], text, True, nothing, None, ()))
    path = manifest(artefact, "refcoco", "train")
    path.parent.mkdir(parents=True)
    write_samples(reversed(samples), path)
    return artefact


def passes(data: Path, dtype: str = "float32", hook_layer: int = 2) -> ForwardPasses:
    settings = micro_study().activations.model_copy(update={"scenes": 5, "batch": 2, "dtype": dtype, "hook_layer": hook_layer})
    return ForwardPasses(tiny_vlm(), data, settings, LONGEST)


def cached(folder: Path, made: ForwardPasses) -> Path:
    folder.mkdir()
    writer = CacheWriter(folder, made.settings.hook_layer, made.vlm.hidden_width, made.settings.dtype, 150)
    for number in range(len(made)):
        writer.add(made.tokens(number))
    writer.close((own.sample_id, own.image) for own in made.expressions)
    return folder


def test_image_tokens_come_once_an_image_and_text_tokens_with_every_expression(data: Path) -> None:
    made = passes(data)
    chunks = [made.tokens(number) for number in range(len(made))]
    assert [own.sample_id for own in made.expressions] == ["s00", "s10", "s11", "s20", "s21", "s22", "s30", "s40", "s41"]
    tokens = {key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]}
    with_image = tokens["owner"][tokens["token_type"] == VISUAL].unique().tolist()
    assert [made.expressions[owner].sample_id for owner in with_image] == ["s00", "s10", "s20", "s30", "s40"]
    for kind in (INSTRUCTION, THOUGHT):
        assert tokens["owner"][tokens["token_type"] == kind].unique().tolist() == list(range(9))
    assert set(tokens["token_type"].tolist()) == {VISUAL, INSTRUCTION, THOUGHT}


@pytest.mark.parametrize("hook_layer", [1, 2])
def test_the_stream_of_a_running_backbone_is_that_of_its_cache(hook_layer: int, data: Path, tmp_path: Path) -> None:
    running = RunningBackbone(passes(data, hook_layer=hook_layer), HELD_OUT, 0)
    reader = CacheReader(cached(tmp_path / "cache", passes(data, hook_layer=hook_layer)), HELD_OUT, 0)
    assert (running.hook_layer, running.width, running.chunks) == (reader.hook_layer, reader.width, reader.chunks)
    assert running.held_owner.any() and torch.equal(running.held_owner, reader.held_owner)
    streams = [TokenStream(source, 16, 200, 3) for source in (running, reader)]
    for _ in range(40):  # more than one epoch
        live, stored = (next(stream) for stream in streams)
        assert torch.equal(live, stored)
    assert streams[0].place[0] > 0
    for live, stored in zip(running.held_out(), reader.held_out(), strict=True):
        assert all(torch.equal(live[key], stored[key]) for key in stored)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_dictionary_is_the_same_to_the_byte_with_and_without_a_cache(dtype: str, data: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"steps": 6, "batch_tokens": 16, "buffer_tokens": 200, "checkpoint_every": 2})
    results = []
    sources = {"running": RunningBackbone(passes(data, dtype), HELD_OUT, 0)}
    sources["cached"] = CacheReader(cached(tmp_path / "cache", passes(data, dtype)), HELD_OUT, 0)
    for name, source in sources.items():
        torch.manual_seed(0)
        dictionary = TopKDictionary(source.width, 32, 4, 1 / 32, 100)
        (tmp_path / name).mkdir()
        rows = train(dictionary, source, settings, tmp_path / name)
        results.append((dictionary.state_dict(), rows, held_out_metrics(dictionary, source.held_out())))
    (live, live_rows, live_metrics), (stored, stored_rows, stored_metrics) = results
    assert all(torch.equal(live[key], stored[key]) for key in stored)
    assert live_rows == stored_rows and live_metrics == stored_metrics


class Mortal(RunningBackbone):
    """Dies when it is asked for more chunks than it has lives."""

    lives = 1000

    def tokens(self, number: int) -> dict[str, torch.Tensor]:
        self.lives -= 1
        if self.lives < 0:
            raise KeyboardInterrupt
        return super().tokens(number)


def test_training_on_the_fly_killed_and_resumed_ends_with_the_same_bytes(data: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"steps": 25, "batch_tokens": 16, "buffer_tokens": 200, "checkpoint_every": 2})
    source = Mortal(passes(data), HELD_OUT, 0)

    def run(folder: str, lives: int) -> tuple[dict[str, torch.Tensor], int]:
        """Weights, and the chunks that were computed."""
        torch.manual_seed(0)
        dictionary = TopKDictionary(source.width, 32, 4, 1 / 32, 100)
        (tmp_path / folder).mkdir(exist_ok=True)
        source.lives = lives
        train(dictionary, source, settings, tmp_path / folder)
        return dictionary.state_dict(), lives - source.lives

    whole, computed = run("whole", 1000)
    with pytest.raises(KeyboardInterrupt):
        run("killed", computed - 1)
    assert (tmp_path / "killed" / "sae.safetensors").is_file(), "it died after a resume point"
    resumed, rest = run("killed", 1000)
    assert rest < computed, "and did not begin again"
    assert all(torch.equal(value, whole[key]) for key, value in resumed.items())


def test_a_state_that_the_cache_cannot_hold_is_named_by_layer_token_and_sample(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = passes(data, "float16")
    lower = made.vlm.lower

    def overflowing(*given: object) -> object:
        states = lower(*given)
        row, token = (states.token_types == INSTRUCTION).nonzero()[0].tolist()
        states.hidden[row, token, 0] = -1e5
        return states

    monkeypatch.setattr(made.vlm, "lower", overflowing)
    first = made.expressions[0].sample_id
    with pytest.raises(
        InputError, match=rf"float16, which cannot hold -100000, a hidden state of layer 2 at token \d+ of {first}; set it to"
    ):
        made.tokens(0)
    assert passes(data, "bfloat16").tokens(0)["hidden"].dtype == torch.bfloat16


def corpus_of(folder: Path, copies: int = 1) -> CorpusSettings:
    """The five images with texts of the fixture `data`, several times over, and one without a text, as a tar shard."""
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as archive:
        for copy in range(copies):
            for number, picture in enumerate(pictures(5)):
                held = io.BytesIO()
                Image.fromarray(picture).save(held, "PNG")
                for ending, content in (("png", held.getvalue()), ("txt", TEXTS[number % 3].encode() if number else b" ")):
                    member = tarfile.TarInfo(f"i{copy}_{number}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return CorpusSettings(source="interleaved", path=str(folder), characters=100)


def test_a_corpus_is_cached_like_expressions_of_the_same_images_and_texts(data: Path, tmp_path: Path) -> None:
    settings = micro_study().activations.model_copy(update={"scenes": 3, "batch": 2, "dtype": "float32", "hook_layer": 2})
    corpus = Corpus(corpus_of(tmp_path / "corpus"))
    (tmp_path / "cache").mkdir()
    vlm = tiny_vlm()
    writer = CacheWriter(tmp_path / "cache", 2, vlm.hidden_width, "float32", 150)
    rows = cache_corpus(corpus, vlm, settings, LONGEST, writer)
    assert dict(corpus.skipped) == {"text missing": 1}
    reader = CacheReader(tmp_path / "cache", HELD_OUT, 0)
    found = [reader.tokens(number) for number in range(reader.chunks)]
    assert rows == {"tokens": sum(len(chunk["owner"]) for chunk in found), "expressions": 3, "images": 3}
    owners = [json.loads(line) for line in (tmp_path / "cache" / "owners.jsonl").read_text().splitlines()]
    assert owners == [{"sample_id": f"i0_{number}", "image": f"i0_{number}"} for number in (1, 2, 3)]

    # The same pictures and texts as a forward pass of its own.
    own = [Reading([pictures(5)[1], pictures(5)[2]], [TEXTS[1], TEXTS[2]], ["i0_1", "i0_2"], [True, True])]
    own += [Reading([pictures(5)[3]], [TEXTS[0]], ["i0_3"], [True])]
    for chunk, reading, start in zip(found, own, (0, 2), strict=True):
        expected = read_tokens(vlm, reading, start, settings, LONGEST)
        assert all(torch.equal(chunk[key], expected[key]) for key in expected)
    assert set(found[0]["token_type"].tolist()) == {VISUAL, INSTRUCTION, THOUGHT}


@pytest.mark.parametrize(("scenes", "number"), [(7, 2), (7, 5), (9, 3), (40, 3)])
def test_the_shards_of_a_corpus_hold_its_chunks_and_count_each_item_that_is_left_out_once(tmp_path: Path, scenes: int, number: int) -> None:
    """Three copies of four usable items behind one without a text: 12 and 3; of 7 and 9 items the third copy's is never reached or is."""
    settings = micro_study().activations.model_copy(update={"scenes": scenes, "batch": 2, "dtype": "float32", "hook_layer": 2})
    held, vlm = corpus_of(tmp_path / "corpus", 3), tiny_vlm()

    def chunks(shard: Shard) -> tuple[list[dict[str, torch.Tensor]], list[tuple[str, str]], dict[str, int], Counter[str]]:
        corpus, folder = Corpus(held), tmp_path / shard.name
        folder.mkdir()
        writer = CacheWriter(folder, 2, vlm.hidden_width, "float32", 150)
        rows = cache_corpus(corpus, vlm, settings, LONGEST, writer, shard)
        stored = StoredChunks(folder)
        return [stored.tokens(place) for place in range(len(stored))], list(stored.owners()), rows, corpus.skipped

    whole, owners, rows, skipped = chunks(WHOLE)
    parts = [chunks(Shard(place + 1, number)) for place in range(number)]
    assert rows["expressions"] == min(scenes, 12) and skipped["text missing"] == {7: 2, 9: 3, 40: 3}[scenes]
    assert [owner for _, part, _, _ in parts for owner in part] == owners
    assert {name: sum(part[name] for _, _, part, _ in parts) for name in rows} == rows
    assert sum((part for *_, part in parts), Counter()) == skipped
    found = [chunk for part, *_ in parts for chunk in part]
    for chunk, expected in zip(found, whole, strict=True):
        assert all(torch.equal(chunk[name], expected[name]) for name in expected)
