"""The untrained control: as many active concepts as a trained dictionary on every type, and a decoder no worse than it needs to be."""

import pytest
import torch

from segcompass.activations.typed_sample import TypedSample
from segcompass.sae import untrained
from segcompass.sae.metrics import l0_by_type
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.untrained import UntrainedDictionary, fit_scale, untrained_twin


def sample_of(each: int, seed: int) -> TypedSample:
    """Three types, of means and spreads of their own in 16 dimensions; half of all tokens are of the first."""
    generator, world = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    parts = [torch.randn(16, generator=world) + spread * torch.randn(each, 16, generator=generator) for spread in (1.0, 1.2, 0.8)]
    return TypedSample(torch.cat(parts), torch.arange(3, dtype=torch.uint8).repeat_interleave(each), {0: 0.5, 1: 0.25, 2: 0.25})


def test_by_hand() -> None:
    dictionary = UntrainedDictionary(2, 2)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.eye(2))
        dictionary.W_dec.copy_(2 * torch.eye(2))
    x = torch.tensor([[4.0, 1.0], [1.0, 4.0], [-4.0, -1.0], [-1.0, -4.0]])
    sample = TypedSample(x, torch.zeros(4, dtype=torch.uint8), {0: 1.0})
    dictionary.match_sparsity(sample, {0: 0.5})
    # The mean is 0. Each concept may be active on a quarter of the tokens: above the second of its values 4, 1, -1, -4.
    assert dictionary.threshold.tolist() == pytest.approx([1.0, 1.0])
    assert dictionary.encode(x).tolist() == [[4.0, 0.0], [0.0, 4.0], [0.0, 0.0], [0.0, 0.0]]
    fit_scale(dictionary, sample)
    # Parts (8, 0) and (0, 8) of (4, 1) and (1, 4): the best scale is (32 + 32) / (64 + 64) = 1 / 2.
    assert torch.allclose(dictionary.W_dec, torch.eye(2))


def test_centre_and_scale_weigh_tokens_by_what_they_stand_for() -> None:
    dictionary = UntrainedDictionary(1, 1)
    with torch.no_grad():
        dictionary.W_enc.fill_(1.0)
        dictionary.W_dec.fill_(1.0)
        dictionary.threshold.fill_(-10.0)
    x, types = torch.tensor([[8.0], [0.0]]), torch.tensor([0, 2], dtype=torch.uint8)
    sample = TypedSample(x, types, {0: 0.25, 2: 0.75})
    dictionary.start_at(x, sample.weights @ x)
    # The centre is 8 / 4 = 2, the deviations are 6 and -2, both are active and reconstructed by scale 1.
    assert dictionary.b_dec.item() == 2.0 and dictionary.encode(x).tolist() == [[6.0], [-2.0]]
    with torch.no_grad():
        dictionary.b_dec.fill_(4.0)
    fit_scale(dictionary, sample)
    # Targets are now 4 and -4: (6 * 4 / 4 + 2 * 4 * 3 / 4) / (36 / 4 + 4 * 3 / 4) = 12 / 12.
    assert dictionary.W_dec.item() == pytest.approx(1.0)


def test_it_has_the_l0_of_every_type_on_tokens_that_were_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrained, "RANKED_TOKENS", 400)
    torch.manual_seed(0)
    control, sample, wanted = UntrainedDictionary(16, 512), sample_of(6000, 0), {0: 20.0, 1: 30.0, 2: 25.0}
    control.match_sparsity(sample, wanted)
    assert l0_by_type(control, sample) == pytest.approx(wanted, rel=0.01), "all of the sample corrects what a part of it gives"
    assert l0_by_type(control, sample_of(6000, 1)) == pytest.approx(wanted, rel=0.05)


def test_the_twin_of_top_k_has_k_on_every_token() -> None:
    torch.manual_seed(0)
    like, sample = TopKDictionary(16, 64, 5), sample_of(300, 0)
    twin = untrained_twin(like, sample)
    assert ((twin.encode(sample_of(300, 1).hidden) != 0).sum(1) == 5).all()
    assert torch.allclose(twin.b_dec, sample.weights @ sample.hidden)
