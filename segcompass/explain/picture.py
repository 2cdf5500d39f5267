"""Explanations and edits as pictures: image, heat map, mask, and where each concept carries the heat map."""

import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PilImage

from segcompass.backbone.interface import Image
from segcompass.explain.edit import Outcome
from segcompass.explain.explanation import Carrying, Explanation, Slot
from segcompass.explain.names import ConceptNames
from segcompass.reporting.figures.overlays import OUTLINE, PREDICTED, heat_overlay, outline, overlay

if TYPE_CHECKING:  # a command that draws no figure need not wait for matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAPS = 5
"""Concepts of a slot that a picture shows."""
GAINED, LOST = (0, 158, 115), (213, 94, 0)
LEAST_SIDE = 240
"""Pixels of a picture's longer side at least; small ones are enlarged by whole numbers."""
LINE = 2
"""Pixels of each of the two lines on a screen, the dark one around the mask, the light one within."""
SCREEN = (384, 1024)
"""The same of a picture that a browser scales, and at most; larger ones are scaled down before anything is drawn on them."""
DPI = 100
LONGEST = 150
"""Letters of a text in a figure."""


def explanation_figure(found: Explanation, names: ConceptNames) -> "Figure":
    """One row a slot: image with the mask's outline, heat map, and for its first concepts what their removal takes from the heat map."""
    slots = found.slots
    figure = _figure((1.75 * (2 + MAPS), 0.6 + 2.15 * len(slots)))
    axes = figure.subplots(len(slots), 2 + MAPS, squeeze=False)
    answer = found.answer
    figure.suptitle(f"{_short(answer.instruction)}\n{_short(answer.thought)}", fontsize=9, x=0.01, ha="left", parse_math=False)
    for row, slot in zip(axes, slots, strict=True):
        _panel(row[0], answer.image, f"slot {slot.slot}\nconfidence {slot.confidence:.2f}")
        outline(row[0], slot.mask)
        _panel(row[1], heat_overlay(answer.image, slot.heat), f"heat map\nscore {slot.score:.1f}")
        strongest = max((float(np.abs(one.effect).max()) for one in slot.carrying[:MAPS]), default=1.0)
        for axis, one in zip(row[2:], [*slot.carrying[:MAPS], *[None] * MAPS][:MAPS], strict=True):
            if one is None:
                axis.set_axis_off()
            else:
                _panel(axis, effect_overlay(answer.image, one.effect, strongest), caption(one, names))
    return figure


def edit_figure(image: Image, outcome: Outcome, title: str) -> "Figure":
    """Image, mask before, mask after, and the pixels that were gained and lost."""
    figure = _figure((8.4, 2.7))
    axes = figure.subplots(1, 4)
    figure.suptitle(_short(title), fontsize=9, x=0.01, ha="left", parse_math=False)
    change = overlay(image, outcome.mask_after & ~outcome.mask_before, GAINED)
    lost = outcome.mask_before & ~outcome.mask_after
    change[lost] = overlay(image, lost, LOST)[lost]
    _panel(axes[0], image, "image")
    _panel(axes[1], overlay(image, outcome.mask_before, PREDICTED), "mask before")
    _panel(axes[2], overlay(image, outcome.mask_after, PREDICTED), f"mask after, IoU with before {outcome.iou:.2f}")
    _panel(axes[3], change, "gained (green), lost (orange)")
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure as PNG of 256 colours, which is a third of the bytes; the same figure gives the same bytes."""
    from segcompass.reporting.figures.save import settle  # whoever has a figure has matplotlib already

    settle(figure)
    stream = BytesIO()
    figure.savefig(stream, dpi=DPI)
    PilImage.open(stream).convert("RGB").quantize(256, method=PilImage.Quantize.FASTOCTREE).save(path, optimize=True)


def save_mask(mask: np.ndarray, path: Path) -> None:
    """Writes a mask, bool [height, width], as PNG: white where it is."""
    PilImage.fromarray(mask.astype(np.uint8) * 255).save(path)


def caption(one: Carrying, names: ConceptNames) -> str:
    """Number, value or first word, and measured effect."""
    return f"{one.concept} {names.of(one.concept).called[:16]}\nremoved: score {-one.score_fall:+.1f}, IoU {one.iou_after:.2f}"


def effect_overlay(image: Image, effect: np.ndarray, strongest: float) -> Image:
    """The image in grey, tinted by what a concept adds to the heat map (orange) or takes from it (blue); `strongest` is the full tint."""
    height, width = image.shape[:2]
    square = max(height, width)
    full = PilImage.fromarray(effect.astype(np.float32)).resize((square, square), PilImage.Resampling.BILINEAR)
    value = (np.asarray(full)[:height, :width] / (strongest or 1.0)).clip(-1, 1)[..., None]
    grey = 0.6 * image.mean(2, keepdims=True) + 60
    colour = np.where(value > 0, np.array([230, 120, 0.0]), np.array([0, 90, 200.0]))
    return np.asarray(grey * (1 - 0.85 * np.abs(value)) + colour * 0.85 * np.abs(value)).clip(0, 255).astype(np.uint8)


def outline_overlay(image: Image, mask: np.ndarray) -> Image:
    """The image with the mask's border in orange."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    found = image.copy()
    found[mask & ~inner] = (0, 229, 255)
    return found


def patch_overlay(image: Image, boxes: np.ndarray, codes: np.ndarray) -> Image:
    """The image in grey, lighter where a concept is active on the visual tokens: boxes [v, 4], codes [v]."""
    grey = 0.35 * image.mean(2, keepdims=True).repeat(3, 2)
    strongest = float(np.abs(codes).max()) or 1.0
    for (x0, y0, x1, y1), code in zip(boxes.round().astype(int), codes, strict=True):
        part = (slice(max(0, y0), max(0, y1)), slice(max(0, x0), max(0, x1)))
        share = abs(float(code)) / strongest
        grey[part] = (1 - share) * grey[part] + share * (0.35 * grey[part] + 0.65 * np.array([240, 200, 0]))
    return np.asarray(grey.clip(0, 255).astype(np.uint8))


def on_screen(image: Image, mask: np.ndarray) -> Image:
    """The image with a line around the mask, in a size that a browser shows: in a large photograph a line of one pixel would be lost."""
    from scipy.ndimage import binary_dilation, binary_erosion  # of the page in the browser alone

    least, most = SCREEN
    share = most / max(image.shape[:2])
    if share < 1:
        size = (max(1, round(image.shape[1] * share)), max(1, round(image.shape[0] * share)))
        image = np.asarray(PilImage.fromarray(image).resize(size, PilImage.Resampling.BOX))
        mask = np.asarray(PilImage.fromarray(mask.astype(np.uint8) * 255).resize(size, PilImage.Resampling.BOX)) > 127
    found, mask = _enlarged(image, least), _enlarged(mask, least)
    around, within = OUTLINE
    found[binary_dilation(mask, iterations=LINE) & ~mask] = _rgb(around)
    found[mask & ~binary_erosion(mask, iterations=LINE)] = _rgb(within)
    return found


def png(image: Image) -> bytes:
    """As a PNG file, small pictures enlarged by a whole number."""
    stream = BytesIO()
    PilImage.fromarray(_enlarged(image, LEAST_SIDE)).save(stream, "PNG")
    return stream.getvalue()


def slot_pictures(found: Explanation, slot: Slot) -> Sequence[tuple[str, Image]]:
    """What a page shows of a slot: its name and picture."""
    image = found.answer.image
    return (
        ("Mask, outlined", outline_overlay(image, slot.mask)),
        ("Heat map", heat_overlay(image, slot.heat)),
    )


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _enlarged(picture: np.ndarray, least: int) -> np.ndarray:
    """A picture or mask by a whole number, so that its longer side has about `least` pixels."""
    scale = max(1, least // max(picture.shape[:2]))
    return np.repeat(np.repeat(picture, scale, 0), scale, 1)


def _figure(inches: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=inches, layout="constrained")


def _panel(axis: "Axes", picture: Image, title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(title, loc="left", fontsize=7, parse_math=False)
    axis.set_axis_off()
    axis.set_anchor("N")


def _short(text: str) -> str:
    """A text of strangers as a figure can show it: letters that fonts draw, and not too many."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text)
    return textwrap.shorten(kept, LONGEST, placeholder=" …") or kept[:LONGEST]
