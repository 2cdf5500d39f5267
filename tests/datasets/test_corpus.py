"""Corpora of images with text: made ones in OBELICS's form and as captions, with damaged items, which are counted and change no other."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from segcompass.datasets.corpus import Corpus, Item
from segcompass.errors import InputError
from segcompass.study.corpus import CorpusSettings
from tests.tiny import pictures

PIXELS = pictures(4)


def png(number: int) -> bytes:
    held = io.BytesIO()
    Image.fromarray(PIXELS[number]).save(held, "PNG")
    return held.getvalue()


def read(folder: Path, source: str = "interleaved", characters: int = 100) -> tuple[list[Item], dict[str, int]]:
    corpus = Corpus(CorpusSettings(source=source, path=str(folder), characters=characters))
    return list(corpus), dict(corpus.skipped)


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
DOCUMENTS = [
    # Two images of one document; the second has no text behind it, so it goes with the one before.
    {"key": "a", "images": [{"bytes": png(0)}, None, {"bytes": png(1)}], "texts": [None, "the red ring", None]},
    {"key": "b", "images": [{"bytes": png(2)[:-200]}, None], "texts": [None, "truncated"]},
    {"key": "c", "images": [{"bytes": png(2)}], "texts": [None]},
    {"key": "d", "images": [{"path": "https://images.example/x.jpg"}, None], "texts": [None, "an address"]},
    {"key": "e", "images": [{"path": "beside.png"}, None], "texts": [None, "beside the shard"]},
    {"key": "f", "images": [{"path": "gone.png"}, None], "texts": [None, "no such file"]},
    {"key": "a", "images": [{"bytes": png(3)}, None], "texts": [None, "a key again"]},
    {"key": "g", "images": [{"bytes": png(3)}], "texts": [None, "lists of two lengths"]},
    {"key": "h", "images": None, "texts": ["no list"]},
    {"key": "i", "images": [{"path": "../../outside.png"}, None], "texts": [None, "leads outside"]},
    {"key": "j", "images": [{"bytes": None, "path": None}, None], "texts": [None, "an empty struct"]},
    {"key": "k", "images": [None, None], "texts": ["words", "alone"]},
]


def write_obelics(folder: Path, documents: list[dict], name: str = "train-00000.parquet") -> None:
    schema = pa.schema([("key", pa.string()), ("images", pa.list_(IMAGE)), ("texts", pa.list_(pa.string()))])
    pq.write_table(pa.Table.from_pylist(documents, schema), folder / name)


def test_interleaved_documents_give_each_image_the_text_beside_it_and_the_rest_is_counted(tmp_path: Path) -> None:
    write_obelics(tmp_path, DOCUMENTS)
    (tmp_path / "beside.png").write_bytes(png(3))
    items, skipped = read(tmp_path)
    assert [(item.key, item.document, item.text) for item in items] == [
        ("a#0", "a", "the red ring"),
        ("a#2", "a", "the red ring"),
        ("e#0", "e", "beside the shard"),
    ]
    for item, number in zip(items, (0, 1, 3), strict=True):
        assert np.array_equal(item.image, PIXELS[number])
    assert skipped == {
        "image unreadable": 2,
        "text missing": 1,
        "image is an address": 1,
        "image missing": 2,
        "key repeated": 1,
        "wrong type": 2,
    }


def test_tar_shards_hold_documents_and_captions(tmp_path: Path) -> None:
    document = {"images": ["0.png", None, "1.png"], "texts": [None, "the red ring", None]}
    members = [
        ("x/one.0.png", png(0)),
        ("x/one.1.png", png(1)),
        ("x/one.json", json.dumps(document).encode()),
        ("two.png", png(2)),
        ("two.txt", b"a caption"),
        ("three.jpg", png(3)),
        ("three.json", b'{"caption": "in JSON"}'),
        ("four.png", png(0)),
        ("five.txt", b"no picture"),
        ("six.png", png(0)),
        ("six.json", b"{not JSON"),
        ("seven.png", png(0)),
        ("seven.txt", b"\xff\xfe not UTF-8"),
        ("eight.png", b"no picture at all"),
        ("eight.txt", b"a text"),
        ("nine.png", png(0)),
        ("nine.json", b'{"text": 9}'),
        ("two.png", png(0)),
        ("two.txt", b"a key again"),
        ("two.png", png(0)),
        ("two.txt", b"and again, right behind"),
    ]
    write_tar(tmp_path / "0.tar", members)
    write_tar(tmp_path / "1.tar.gz", [("ten.png", png(1)), ("ten.txt", b"in the second shard")], "w:gz")
    items, skipped = read(tmp_path)
    expected = {"x/one#0": "the red ring", "x/one#2": "the red ring", "two": "a caption", "three": "in JSON", "ten": "in the second shard"}
    assert {item.key: item.text for item in items} == expected
    for item, number in zip(items, (0, 1, 2, 3, 1), strict=True):
        assert np.array_equal(item.image, PIXELS[number])
    assert skipped == {"text missing": 1, "image missing": 1, "wrong type": 3, "image unreadable": 1, "key repeated": 2}


def test_parquet_of_pictures_with_captions_names_them_by_row(tmp_path: Path) -> None:
    rows = {"image": [png(0), None, png(1)], "caption": ["one", "two", None]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    items, skipped = read(tmp_path)
    assert [(item.key, item.text) for item in items] == [("a.parquet:0", "one")]
    assert skipped == {"image missing": 1, "text missing": 1}


def test_texts_of_another_type_are_counted(tmp_path: Path) -> None:
    rows = pa.table({"images": [[png(0), None]], "texts": [[None, 7]]})
    pq.write_table(rows, tmp_path / "a.parquet")
    write_tar(tmp_path / "b.tar", [("z.png", png(0)), ("z.txt", b"kept")])
    items, skipped = read(tmp_path)
    assert [item.key for item in items] == ["z"] and skipped == {"wrong type": 1}


@pytest.mark.parametrize("listed", [True, False])
def test_a_folder_of_captions(listed: bool, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for number, name in enumerate(("b.png", "a.png", "sub/c.png", "bare.png")):
        (tmp_path / name).write_bytes(png(number))
    (tmp_path / "broken.png").write_bytes(png(0)[:100])
    texts = {"a.png": "first", "b.png": "second", "sub/c.png": "third", "broken.png": "damaged"}
    if listed:
        rows = [{"file_name": name, "text": text} for name, text in texts.items()] + [{"file_name": "a.png", "text": "twice"}]
        rows += [{"file_name": 7, "text": "x"}, {"file_name": "bare.png"}, {"file_name": "gone.png", "text": "x"}]
        (tmp_path / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "[]\nno JSON\n")
    else:
        for name, text in texts.items():
            (tmp_path / name).with_suffix(".txt").write_text(text)
    items, skipped = read(tmp_path, "captions")
    assert [(item.key, item.text) for item in items] == [("a.png", "first"), ("b.png", "second"), ("sub/c.png", "third")]
    assert np.array_equal(items[0].image, PIXELS[1])
    expected = {"text missing": 1, "image unreadable": 1}
    assert skipped == (expected | {"key repeated": 1, "wrong type": 3, "image missing": 1} if listed else expected)


def test_long_texts_end_behind_a_word(tmp_path: Path) -> None:
    for name, text in (("a", "one two  three"), ("b", "abcdefghijkl"), ("c", "one two")):
        (tmp_path / f"{name}.png").write_bytes(png(0))
        (tmp_path / f"{name}.txt").write_text(text)
    assert [item.text for item in read(tmp_path, "captions", 7)[0]] == ["one two", "abcdefg", "one two"]


def damage_tar(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.png", png(0)), ("a.txt", b"x"), ("b.png", png(1)), ("b.txt", b"x")])
    content = (folder / "a.tar").read_bytes()
    (folder / "a.tar").write_bytes(content[: content.index(b"b.png") + 1000])


def damage_parquet(folder: Path) -> None:
    write_obelics(folder, DOCUMENTS, "a.parquet")
    (folder / "a.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-20])


def other_columns(folder: Path) -> None:
    pq.write_table(pa.table({"url": ["x"]}), folder / "a.parquet")


def nothing_usable(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.png", png(0))])


@pytest.mark.parametrize(
    ("make", "source", "said"),
    [
        (damage_tar, "interleaved", r"a\.tar: is no readable tar file \(.+\); get a whole copy"),
        (damage_parquet, "interleaved", r"a\.parquet: is no readable Parquet file \(.+\); get a whole copy"),
        (other_columns, "interleaved", r"a\.parquet: columns: are neither `images` and `texts` nor `image` and `text`; rename them"),
        (nothing_usable, "interleaved", r"holds no usable image with text \(text missing: 1\); name another corpus"),
        (lambda _: None, "interleaved", r"holds no shard \(\.parquet"),
        (lambda _: None, "captions", r"holds no pictures"),
        (lambda folder: folder.rmdir(), "captions", r"is no folder, but activations\.corpus\.path names it"),
    ],
)
def test_what_is_no_corpus_is_one_sentence(make: Callable[[Path], None], source: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    make(folder)
    with pytest.raises(InputError, match=said):
        read(folder, source)
