"""Labelled tokens of drawn images: 4 x 4 pixels, four visual tokens and one in the padding, one object of the size of a token."""

import numpy as np

from segcompass.concepts.labelled import LabelledTokens
from segcompass.datasets.masks import encode

BOXES = np.array([[0, 0, 2, 2], [2, 0, 4, 2], [0, 2, 2, 4], [2, 2, 4, 4], [4, 0, 4, 0]])
COLOURS = ["red", "blue", "green"]


def drawn_tokens(images: int, seed: int = 0, width: int = 6) -> LabelledTokens:
    """Each image has one object, of a random colour under a random token, and one expression of an instruction and a thought token.

    Hidden states: the object's token has 1 in the colour's place, all else is small noise.
    """
    generator = np.random.default_rng(seed)
    n, rows = 7 * images, np.arange(7 * images) % 7
    place, colour = generator.integers(0, 4, images), generator.integers(0, len(COLOURS), images)
    image = np.repeat(np.arange(images), 7)
    visual = rows < 5
    instance = visual & (rows == place[image])
    hidden = 0.01 * generator.random((n, width))
    hidden[instance, colour[image[instance]]] += 1
    samples = []
    for number in range(images):
        mask = np.zeros((4, 4), bool)
        x0, y0, x1, y1 = BOXES[place[number]]
        mask[y0:y1, x0:x1] = True
        samples.append({"sample_id": f"s{number}", "image": number, "target": encode(mask)})
    return LabelledTokens(
        hidden=hidden.astype(np.float32),
        token_type=np.where(visual, 0, rows - 4).astype(np.uint8),
        image=image.astype(np.int32),
        sample=np.where(visual, -1, image).astype(np.int32),
        word=np.where(visual, -1, rows - 5).astype(np.int32),
        boxes=np.where(visual[:, None], BOXES[np.minimum(rows, 4)], 0).astype(np.float32),
        instance=instance,
        classes=np.where(instance, colour[image], -1)[:, None].astype(np.int16),
        images=[f"i{number}" for number in range(images)],
        samples=samples,
        words=["find", "target"],
        attributes={"colour": COLOURS},
    )
