"""Shapley values of four players, exactly, from the values of all 16 coalitions.

phi_i = sum over coalitions S without i of |S|! (3 - |S|)! / 4! * (v(S and i) - v(S)). They add up to v(all) - v(none), split what players
gain together equally, and are 0 for a player that never changes anything (Shapley, "A value for n-person games", 1953).
"""

from math import factorial

import numpy as np

PLAYERS = 4


def shapley(values: np.ndarray) -> np.ndarray:
    """Shapley values [.., 4] of games [.., 16]; player i takes part in coalition c where bit i of c is set."""
    if values.shape[-1] != 2**PLAYERS:
        raise ValueError(f"{PLAYERS} players have {2**PLAYERS} coalitions, not {values.shape[-1]}")
    found = np.zeros((*values.shape[:-1], PLAYERS))
    for player in range(PLAYERS):
        for coalition in range(2**PLAYERS):
            if not coalition >> player & 1:
                size = coalition.bit_count()
                weight = factorial(size) * factorial(PLAYERS - 1 - size) / factorial(PLAYERS)
                found[..., player] += weight * (values[..., coalition | 1 << player] - values[..., coalition])
    return found
