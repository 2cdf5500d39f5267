"""The order in which a training run takes its samples: every one once, shuffled by seed and epoch, before any comes again."""

import numpy as np


class EpochOrder:
    """Places of `total` samples by position in the run."""

    def __init__(self, total: int, seed: int) -> None:
        self.total, self.seed = total, seed
        self._epoch = -1
        self._places = np.empty(0, int)

    def at(self, position: int) -> int:
        """The place of the sample at a position from 0, which may lie in any epoch; the order of the epoch asked for last is kept."""
        epoch, index = divmod(position, self.total)
        if epoch != self._epoch:
            self._epoch, self._places = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.total)
        return int(self._places[index])
