"""Pictures: one reader for every stage and command, with one stated rule for each kind of file; everything else is refused by a sentence.

| in the file | becomes |
|---|---|
| grey of 1 to 8 bits (`1`, `L`) | three equal channels |
| palette (`P`), `RGB` | its colours |
| 16 bits (`I;16`, and colours, which Pillow reads so) | the upper 8 of them |
| transparency (`LA`, `RGBA`, a transparent colour) | laid on white, as viewers show it |
| `CMYK` | Pillow's conversion; colour profiles are not applied |
| EXIF orientation | turned upright, as OpenCV, LISA's reader, does |

An annotation that gives height and width decides: where only the picture as it is stored has them, it is left as stored.
Refused: other formats than `FORMATS`, other pixel kinds, several pictures in one file, more than `MOST_PIXELS`, sides that differ by more
than a factor of `MOST_SLENDER`, and files that cannot be decoded to their end.
"""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from segcompass.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_REMEDY = f"give a whole file of {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
MOST_PIXELS = 64_000_000
"""A picture with more pixels is refused before it is decoded."""
MOST_SLENDER = 200
"""Longer side over shorter side; Qwen2.5-VL takes no more, and the other image processors would scale such pictures to enormous ones."""
ON_ITS_SIDE = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""
ORIENTATIONS = range(2, 9)
"""EXIF orientations of pictures that are not stored upright."""

Size = tuple[int, int]
"""(height, width)."""


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself before it is decoded."""

    upright: Size
    """As the EXIF orientation turns it."""
    stored: Size
    turned: bool
    """It has an orientation, so that upright and stored pixels differ."""

    def turns(self, size: Size | None) -> bool:
        """Whether the picture of this annotated size is the upright one; None: no annotation says."""
        return size in (None, self.upright)


def image_header(path: Path) -> Header:
    """Sizes and orientation of a picture.

    Raises:
        InputError: missing, or refused by what its header says.
    """
    with _opened(path) as image:
        return _header(image, path)


def image_size(path: Path) -> Size:
    """(height, width) of the upright picture.

    Raises:
        InputError: missing, or refused by what its header says.
    """
    return image_header(path).upright


def read_image(path: Path, size: Size | None = None) -> np.ndarray:
    """The pixels, uint8 [height, width, 3].

    Args:
        path: the file.
        size: (height, width) of the annotation that the picture belongs to, where there is one.

    Raises:
        InputError: missing, refused by the rules above, not decodable to its end, or of another size than annotated.
    """
    with _opened(path) as image:
        header = _header(image, path)
        if size not in (None, header.upright, header.stored):
            raise InputError(path, "", f"has {_named(header.upright)} pixels, its annotation says {_named(size)}; exchange one of the two")
        image.load()
        return _colours(ImageOps.exif_transpose(image) if header.turned and header.turns(size) else image, path)


def decoded_image(data: bytes, name: Path) -> np.ndarray:
    """The upright pixels of a file that is held in memory, uint8 [height, width, 3]; `name` is what faults call it.

    Raises:
        InputError: refused by the rules above, or not decodable to its end.
    """
    with _opened(name, BytesIO(data)) as image:
        header = _header(image, name)
        image.load()
        return _colours(ImageOps.exif_transpose(image) if header.turned else image, name)


@contextmanager
def _opened(path: Path, held: BytesIO | None = None) -> Iterator[Image.Image]:
    """A picture whose every fault, when it is opened and within the block, is one sentence; `held` has its bytes instead of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size and of damaged EXIF; both are dealt with here
            with Image.open(path if held is None else held, formats=FORMATS) as image:
                yield image
    except InputError:
        raise
    except FileNotFoundError as error:
        link = next((place for place in (path, *path.parents) if place.is_symlink() and not place.exists()), None)
        if link is not None:
            raise InputError(path, "", f"is missing: {link} is a link to {link.readlink()}, which is not there; restore it") from error
        raise InputError(path, "", "is missing; put the picture there or name another one (layout of data sets: docs/data.md)") from error
    except UnidentifiedImageError as error:
        raise InputError(path, "", f"is not a readable image ({_REMEDY})") from error
    except Exception as error:  # a damaged file raises errors of nearly any class in Pillow's decoders
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(path, "", f"is not a readable image ({reason}); {_REMEDY}") from error


def _header(image: Image.Image, path: Path) -> Header:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise InputError(path, "", f"has {width} x {height} pixels, more than {MOST_PIXELS}; scale it down")
    if max(width, height) > MOST_SLENDER * min(width, height):
        raise InputError(path, "", f"has {width} x {height} pixels; a side may have {MOST_SLENDER} times the other's at most, so crop it")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a JPEG with previews or a second view: the first picture is the picture
        raise InputError(path, "", f"holds {frames} pictures; save one of them to a file of its own")
    orientation = None
    with suppress(SyntaxError, ValueError, TypeError, struct.error):  # damaged EXIF says nothing
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    stored = (height, width)
    return Header((width, height) if orientation in ON_ITS_SIDE else stored, stored, orientation in ORIENTATIONS)


def _colours(image: Image.Image, path: Path) -> np.ndarray:
    if image.mode.startswith("I;16") and not image.has_transparency_data:
        upper = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(upper[..., None], 3, 2)
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"):
        raise InputError(path, "", f"has pixels of the kind `{image.mode}`; save it with 8 bits a channel, in grey or RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _named(size: Size | None) -> str:
    return "no size" if size is None else f"{size[1]} x {size[0]}"
