"""The one reader of pictures: turned as OpenCV turns them, one rule for each kind of pixel, one sentence for everything else."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from segcompass.cli import main
from segcompass.datasets.images import MOST_SLENDER, image_header, image_size, read_image
from segcompass.datasets.load import load_samples
from segcompass.errors import InputError
from tests.datasets.test_loaders import refer_root

COLOURS = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
LOSSLESS = {"quality": 100, "subsampling": 0}


def turned(path: Path, orientation: int, pixels: np.ndarray = COLOURS) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **(LOSSLESS if path.suffix == ".jpg" else {}))
    return path


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_as_opencv_turns_them(tmp_path: Path, orientation: int, ending: str) -> None:
    path = turned(tmp_path / f"a.{ending}", orientation)
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    found = read_image(path)
    assert image_size(path) == found.shape[:2] == expected.shape[:2] == ((12, 10) if orientation > 4 else (10, 12))
    assert np.abs(found.astype(int) - expected).max() <= (0 if ending == "png" else 4), "decoders of JPEG round differently"


def test_the_annotated_size_decides_between_upright_and_stored(tmp_path: Path) -> None:
    path = turned(tmp_path / "a.png", 6)
    assert np.array_equal(read_image(path, (12, 10)), np.rot90(COLOURS, -1))
    assert np.array_equal(read_image(path, (10, 12)), COLOURS)
    with pytest.raises(InputError, match=r"has 10 x 12 pixels, its annotation says 9 x 12"):
        read_image(path, (12, 9))


def test_damaged_or_foolish_orientations_turn_nothing(tmp_path: Path) -> None:
    path = turned(tmp_path / "a.jpg", 6)
    whole = path.read_bytes()
    place = whole.index(b"Exif\0\0")
    for length in (4, 8, 20):
        path.write_bytes(whole[: place + 6] + b"\xff" * length + whole[place + 6 + length :])
        assert read_image(path).shape == (10, 12, 3)
    assert not image_header(turned(path, 9)).turned


def grey16(path: Path) -> np.ndarray:
    values = np.arange(10 * 12, dtype=np.uint16).reshape(10, 12) * 500
    cv2.imwrite(str(path), values)
    return np.repeat((values // 256).astype(np.uint8)[..., None], 3, 2)


def colour16(path: Path) -> np.ndarray:
    values = COLOURS.astype(np.uint16) * 256 + 77
    cv2.imwrite(str(path), values[..., ::-1])
    return COLOURS


def grey(path: Path) -> np.ndarray:
    Image.fromarray(COLOURS[..., 0]).save(path)
    return np.repeat(COLOURS[..., :1], 3, 2)


def two_levels(path: Path) -> np.ndarray:
    Image.fromarray(COLOURS[..., 0] > 127).save(path)
    return np.repeat((COLOURS[..., :1] > 127) * np.uint8(255), 3, 2)


def palette(path: Path) -> np.ndarray:
    image = Image.new("P", (12, 10), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.save(path)
    return np.full((10, 12, 3), (10, 20, 30), np.uint8)


def see_through_palette(path: Path) -> np.ndarray:
    image = Image.new("P", (12, 10), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.putpixel((3, 2), 0)
    image.save(path, transparency=1)
    expected = np.full((10, 12, 3), 255, np.uint8)
    expected[2, 3] = 9
    return expected


def alpha(path: Path) -> np.ndarray:
    """Opaque above, hidden colours below."""
    opacity = np.zeros((10, 12, 1), np.uint8)
    opacity[:5] = 255
    Image.fromarray(np.concatenate([COLOURS, opacity], 2)).save(path)
    return np.where(opacity > 0, COLOURS, np.uint8(255))


def grey_alpha(path: Path) -> np.ndarray:
    Image.fromarray(np.full((10, 12, 2), (40, 0), np.uint8), "LA").save(path)
    return np.full((10, 12, 3), 255, np.uint8)


def see_through_colour(path: Path) -> np.ndarray:
    Image.new("RGB", (12, 10), (1, 2, 3)).save(path, transparency=(1, 2, 3))
    return np.full((10, 12, 3), 255, np.uint8)


KINDS = [grey, grey16, colour16, two_levels, palette, see_through_palette, alpha, grey_alpha, see_through_colour]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_pixel_has_one_rule(tmp_path: Path, kind) -> None:
    path = tmp_path / "a.png"
    assert np.array_equal(kind(path), read_image(path))


def test_cmyk_is_read_as_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (12, 10), (0, 255, 255, 0)).save(tmp_path / "a.jpg", **LOSSLESS)
    red = read_image(tmp_path / "a.jpg")
    assert red[..., 0].min() > 240 and red[..., 1:].max() < 15


def animated(path: Path) -> None:
    Image.new("RGB", (12, 10)).save(path, "PNG", save_all=True, append_images=[Image.new("RGB", (12, 10), "red")])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: Image.new("F", (12, 10)).save(path, "TIFF"), "give a whole file of JPEG, PNG, WEBP or BMP"),
        (lambda path: Image.new("P", (12, 10)).save(path, "GIF"), "give a whole file of JPEG, PNG, WEBP or BMP"),
        (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"), "give a whole file"),
        (lambda path: path.write_bytes(b""), "give a whole file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: None, "is missing; put the picture there"),
        (animated, "holds 2 pictures; save one of them"),
        (lambda path: Image.new("L", (2000, 1)).save(path), "has 2000 x 1 pixels; a side may have 200 times"),
        (lambda path: Image.new("1", (9000, 9000)).save(path), "has 9000 x 9000 pixels, more than 64000000; scale it down"),
    ],
)
def test_everything_else_is_one_sentence(tmp_path: Path, write, words: str) -> None:
    path = tmp_path / "a.png"
    write(path)
    for read in (read_image, image_size):
        with pytest.raises(InputError) as caught:
            read(path)
        assert words in str(caught.value) and str(path) in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_name_that_no_file_system_takes_is_one_sentence(tmp_path: Path) -> None:
    for name in ("x" * 5000, "a\0b", "\ud800"):
        with pytest.raises(InputError):
            read_image(tmp_path / name)


ENDINGS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP"}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_damaged_pictures_are_read_or_refused(tmp_path: Path, ending: str) -> None:
    """Bytes overwritten, cut out, doubled, cut off: our own error, or pixels of the right shape."""
    generator, path, file = np.random.default_rng(len(ending)), tmp_path / f"a.{ending}", io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    smooth = np.indices((40, 60)).sum(0).astype(np.uint8)
    Image.fromarray(np.stack([smooth, 255 - smooth, smooth // 2], 2)).save(file, ENDINGS[ending], exif=exif)
    whole, refused = file.getvalue(), 0
    for _ in range(250):
        first, second = sorted(int(place) for place in generator.integers(0, min(len(whole), 700), 2))
        noise = generator.integers(0, 256, int(generator.integers(1, 6)), dtype=np.uint8).tobytes()
        overwritten = whole[:first] + noise + whole[first + len(noise) :]
        kinds = [overwritten, whole[:first] + whole[second:], whole[:second] + whole[first:], whole[:second]]
        path.write_bytes(kinds[int(generator.integers(4))])
        try:
            image_header(path)
            pixels = read_image(path)
            assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
        except InputError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1 and str(error).endswith(".")
    assert refused > 40, "the damage is damage"


def check_root(tmp_path: Path, orientation: int, pixels: np.ndarray) -> Path:
    """A RefCOCO root whose one image is annotated as 12 x 10 pixels."""
    root = refer_root(tmp_path)
    (sample, *_) = load_samples(root, "refcoco", "val")
    path = root / sample.image
    path.parent.mkdir(parents=True)
    turned(path, orientation, pixels)
    return path


@pytest.mark.parametrize(
    ("orientation", "shape", "words", "code"),
    [
        (1, (10, 12, 3), "", 0),
        (6, (12, 10, 3), "", 0),
        (6, (10, 12, 3), "1 x EXIF orientation that the annotated size contradicts; read as stored", 0),
        (3, (10, 12, 3), "1 x EXIF orientation that the annotated size leaves open; read upright", 0),
        (1, (12, 10, 3), "1 x image file of another size than its annotation", 1),
    ],
)
def test_check_says_where_orientation_and_annotation_disagree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], orientation: int, shape: tuple[int, ...], words: str, code: int
) -> None:
    path = check_root(tmp_path, orientation, np.zeros(shape, np.uint8))
    assert main(["check", str(tmp_path)]) == code
    out = capsys.readouterr().out
    assert words in out and ("Remarks" in out) == bool(words)
    if not code:
        assert read_image(path, (10, 12)).shape == (10, 12, 3)


def test_check_deep_finds_what_a_header_hides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = check_root(tmp_path, 1, COLOURS)
    assert main(["check", str(tmp_path), "--deep"]) == 0 and "Remarks" not in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-200])
    assert main(["check", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["check", str(tmp_path), "--deep"]) == 1
    out = capsys.readouterr().out
    assert "1 x image file that cannot be used: images/mscoco" in out and "truncated" in out and "| no " in out


def test_reasonseg_masks_lie_on_the_upright_picture(tmp_path: Path) -> None:
    folder = tmp_path / "ReasonSeg" / "val"
    folder.mkdir(parents=True)
    turned(folder / "a.jpg", 6)
    points = [[0, 0], [9, 0], [9, 11], [0, 11]]
    (folder / "a.json").write_text(json.dumps({"text": ["all"], "is_sentence": False, "shapes": [{"label": "target", "points": points}]}))
    (sample,) = load_samples(tmp_path, "reasonseg", "val")
    assert (sample.height, sample.width) == (12, 10) == read_image(tmp_path / sample.image, (12, 10)).shape[:2]
    assert sample.target["size"] == [12, 10] and image_size(tmp_path / sample.image) == (12, 10)


def test_the_most_slender_pictures_are_read(tmp_path: Path) -> None:
    Image.new("L", (MOST_SLENDER, 1)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (1, MOST_SLENDER, 3)
