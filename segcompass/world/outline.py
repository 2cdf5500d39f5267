"""Outlines of masks along pixel edges: polygons that COCO's rasteriser turns into exactly the mask again.

COCO polygons have no holes, so a mask with a hole is cut in two through the hole.
"""

from functools import lru_cache

import numpy as np

Point = tuple[int, int]
"""Column and row of a pixel's corner."""


def polygons(mask: np.ndarray) -> list[list[int]]:
    """Polygons [x0, y0, x1, y1, …] of a bool mask [height, width], one a hole-free piece."""
    return [list(polygon) for polygon in _remembered(mask.shape, np.packbits(mask).tobytes())]


@lru_cache(maxsize=64)
def _remembered(shape: tuple[int, int], packed: bytes) -> list[list[int]]:
    """Polygons of a packed mask; the two scenes of a counterfactual pair, written one after the other, share most of their masks."""
    return _traced(np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1]).reshape(shape).astype(bool))


def _traced(mask: np.ndarray) -> list[list[int]]:
    loops = _loops(mask)
    hole = next((loop for loop in loops if _signed_area(loop) < 0), None)
    if hole is None:
        return [[value for point in _corners(loop) for value in point] for loop in loops]
    cut = min(column for column, _ in hole) + 1
    left, right = mask.copy(), mask.copy()
    left[:, cut:] = False
    right[:, :cut] = False
    return _traced(left) + _traced(right)


def _loops(mask: np.ndarray) -> list[list[Point]]:
    """Closed walks along the mask's edge with the mask on the right hand: outlines clockwise, holes the other way round."""
    padded = np.pad(mask, 1)
    leaving: dict[Point, list[Point]] = {}
    interior = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    for row, column in np.argwhere(mask & ~interior).tolist():
        corners = ((column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1))
        neighbours = (padded[row, column + 1], padded[row + 1, column + 2], padded[row + 2, column + 1], padded[row + 1, column])
        for side, inside in enumerate(neighbours):
            if not inside:
                leaving.setdefault(corners[side], []).append(corners[(side + 1) % 4])
    loops = []
    while leaving:
        start = next(iter(leaving))
        loop, here = [start], _take(leaving, start, None)
        while here != start:
            loop.append(here)
            here = _take(leaving, here, loop[-2])
        loops.append(loop)
    return loops


def _take(leaving: dict[Point, list[Point]], here: Point, before: Point | None) -> Point:
    """The next corner; where two pieces touch at a corner, the one to the right, which stays with the same piece."""
    choices = leaving[here]
    chosen = choices[0]
    if len(choices) == 2 and before is not None:
        step = (here[0] - before[0], here[1] - before[1])
        chosen = (here[0] - step[1], here[1] + step[0])
    choices.remove(chosen)
    if not choices:
        del leaving[here]
    return chosen


def _corners(loop: list[Point]) -> list[Point]:
    """The points at which a loop turns."""
    around = zip([loop[-1], *loop[:-1]], loop, [*loop[1:], loop[0]], strict=True)
    return [
        here
        for before, here, after in around
        if (here[0] - before[0]) * (after[1] - here[1]) != (here[1] - before[1]) * (after[0] - here[0])
    ]


def _signed_area(loop: list[Point]) -> int:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(loop, [*loop[1:], loop[0]], strict=True))
