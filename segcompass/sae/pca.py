"""Control: principal components of the hidden states as concepts; the best linear code of its size, with no sparsity asked for.

Codes are projections on the components, of either sign; decoding is the transpose. The covariance is summed over the stream of training
tokens, so memory holds two [d, d] matrices and one chunk, whatever the number of tokens.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from segcompass.sae.dense import DenseDictionary


class PcaDictionary(DenseDictionary):
    """A linear map like the dense control's, with the F leading components in place of trained rows."""

    architecture = "pca"

    @torch.no_grad()
    def fit(self, parts: Iterable[Tensor]) -> None:
        """Sets the components by all tokens [n, d] of the parts: rows by falling variance, each component's largest entry positive."""
        mean, covariance = moments(parts)
        components = torch.linalg.eigh(covariance).eigenvectors.T.flip(0)[: self.features]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))
        components = components * largest.sign()
        self.W_dec.copy_(components)
        self.W_enc_T.copy_(components)
        self.b_dec.copy_(mean)
        self.b_enc.copy_(-components @ mean)


def moments(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean [d] and covariance [d, d], divided by n, of all rows of the parts [n, d], in float64.

    Parts are merged by the update of Chan, Golub and LeVeque ("Updating formulae and a pairwise algorithm for computing sample variances",
    1979), which loses no digits where the mean is large.

    Raises:
        ValueError: no part has a row.
    """
    count, mean, scatter = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        if not len(part):
            continue
        x = part.double()
        own = x.mean(0)
        centred, away = x - own, own - mean
        total = count + len(x)
        scatter = scatter + centred.T @ centred + torch.outer(away, away) * (count * len(x) / total)
        mean, count = mean + away * (len(x) / total), total
    if not count:
        raise ValueError("no token to take components of")
    return mean, scatter / count
