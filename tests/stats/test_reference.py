"""The reference distribution: its limits are Student's t, and what it covers, by quadrature, is what its page says."""

import numpy as np
import pytest
from scipy.stats import chi2, norm, t

from segcompass.stats.reference import critical_value, two_sided_p

MANY = 1e6


@pytest.mark.parametrize("df", [1, 2, 4, 29])
def test_without_variance_of_one_kind_it_is_students_t_of_the_other(df: int) -> None:
    assert critical_value(0.95, 1.0, 0.0, df, 99) == pytest.approx(t.ppf(0.975, df), rel=1e-6)
    assert critical_value(0.95, 0.0, 1.0, 2, df) == pytest.approx(t.ppf(0.975, df), rel=1e-6)


def test_critical_value_and_p_value_are_of_one_test() -> None:
    at = critical_value(0.99, 2.0, 3.0, 2, 120)
    assert two_sided_p(*map(np.asarray, (-at, 2.0, 3.0, 2, 120))) == pytest.approx(0.01)


@pytest.mark.parametrize(("df", "low", "high"), [(2, 0.946, 0.9645), (4, 0.9495, 0.958)])
def test_coverage_is_what_the_page_says(df: int, low: float, high: float) -> None:
    # Seeds' variance rho * chi2(df) / df, images' 1 - rho, known; the estimate errs as a normal of variance 1.
    estimated = chi2.ppf((np.arange(1000) + 0.5) / 1000, df) / df
    shares = np.linspace(0, 1, 60)
    critical = [critical_value(0.95, share, 1 - share, df, MANY) for share in shares]
    covered = []
    for rho in np.linspace(0.02, 0.98, 25):
        total = rho * estimated + 1 - rho
        covered.append(2 * norm.cdf(np.interp(rho * estimated / total, shares, critical) * np.sqrt(total)).mean() - 1)
    assert low <= min(covered) and max(covered) <= high
