"""Scores of simulated runs whose true mean is 0: seeds, images and their interaction vary as they do in real runs."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class World:
    """Standard deviations in points; R studies are simulated at once."""

    studies: int
    seeds: int
    images: int
    seed_sd: float
    image_sd: float
    interaction_sd: float
    """Of one image between seeds: one image in ten jumps."""
    sentence_sd: float

    def sentences(self, generator: np.random.Generator) -> np.ndarray:
        """Expressions of each image, 1 to 4: [R, 1, I]."""
        return generator.integers(1, 5, (self.studies, 1, self.images)).astype(float)

    def hardness(self, generator: np.random.Generator) -> np.ndarray:
        """What an image adds to every run [R, 1, I]: piled up at both ends, as IoU is, with mean 0."""
        a, b = 0.6, 0.35
        drawn = generator.beta(a, b, (self.studies, 1, self.images)) - a / (a + b)
        return self.image_sd * drawn / np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))

    def luck(self, generator: np.random.Generator) -> np.ndarray:
        """What a seed adds [R, S, 1]."""
        return generator.normal(0, self.seed_sd, (self.studies, self.seeds, 1))

    def scores(self, generator: np.random.Generator, hardness: np.ndarray, luck: np.ndarray, sentences: np.ndarray) -> np.ndarray:
        """Sums over each image's expressions [R, S, I]."""
        shape = (self.studies, self.seeds, self.images)
        drawn = generator.random(shape)
        jumps = self.interaction_sd / np.sqrt(0.1) * ((drawn < 0.05).astype(float) - (drawn > 0.95))
        return (hardness + luck + jumps + generator.normal(0, self.sentence_sd, shape) / np.sqrt(sentences)) * sentences


def linearised(top: np.ndarray, bottom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of sums [R] and influence values [R, S, I], as `Grid.ratio` forms them for one study."""
    bottom = np.broadcast_to(bottom, top.shape)
    total = bottom.mean(-2).sum(-1)
    value = top.mean(-2).sum(-1) / total
    return value, (top - value[:, None, None] * bottom) / total[:, None, None]
