from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.models.tables import ridge as module
from geocube_ml.models.tables.ridge import fit_ridge


def table(n, n_column, seed=0):
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(n, n_column)) * rng.uniform(0.1, 9, n_column) + 5).astype("float32")
    rows[:, 1] = 4  # it never changes
    wanted = rows[:, [0, 2]] + rng.normal(size=(n, 2))
    return rows, wanted, rng.uniform(0.5, 3, n)


def direct(rows, wanted, counts, penalty, mean, std):
    """Weights and intercept by the normal equations, the intercept free."""
    z = np.column_stack([(rows - mean) / std, np.ones(len(rows))])
    free = penalty * np.diag([*np.ones(rows.shape[1]), 0.0])
    found = np.linalg.solve(z.T * counts @ z + free, z.T * counts @ wanted)
    return found[:-1], found[-1], z @ found


@pytest.mark.parametrize(("n", "n_column"), [(40, 6), (20, 33)])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_ridge_solves_the_normal_equations_and_knows_rows_left_out(
    n, n_column, weighted, monkeypatch
):
    monkeypatch.setattr(module, "_AT_ONCE", 7)  # several parts
    rows, wanted, counts = table(n, n_column)
    counts = counts if weighted else np.ones(n)
    counts = counts * n / counts.sum()
    got = fit_ridge(rows.__getitem__, n, wanted, counts if weighted else None)
    mean = np.average(rows, axis=0, weights=counts)
    std = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=counts))
    std[1] = 1
    weight, intercept, _ = direct(rows, wanted, counts, got.penalty, mean, std)
    weight = weight / std[:, None]
    np.testing.assert_allclose(got.weight, weight, atol=1e-6)
    np.testing.assert_allclose(got.intercept, intercept - mean @ weight, atol=1e-5)
    for out in (0, n - 1):
        rest = np.arange(n) != out
        some, free, _ = direct(rows[rest], wanted[rest], counts[rest], got.penalty, mean, std)
        answer = (rows[out] - mean) / std @ some + free
        np.testing.assert_allclose(got.left_out[out], answer, atol=1e-4)


def test_the_penalty_is_that_of_the_least_error_on_rows_left_out(monkeypatch):
    rows, wanted, _ = table(60, 5)
    noise = np.random.default_rng(1).normal(size=wanted.shape)
    clear, hidden = (fit_ridge(rows.__getitem__, 60, aim) for aim in (wanted, noise))
    assert hidden.penalty > 100 * clear.penalty
    error = ((clear.left_out - wanted) ** 2).sum()
    for penalty in module.PENALTIES:
        monkeypatch.setattr(module, "PENALTIES", np.array([penalty]))
        other = fit_ridge(rows.__getitem__, 60, wanted)
        assert ((other.left_out - wanted) ** 2).sum() >= error * (1 - 1e-5)
