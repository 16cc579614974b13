"""Trainings in threads of one process give the numbers that each gives alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from numpy.typing import NDArray

import aam
from aam import datasets
from aam.io.table import read_table
from aam.sklearn import AAMRegressor

SETTINGS: dict[str, Any] = {
    "max_steps": 4, "head_dim": 8, "device": "cpu", "preset": "tiny", "max_bp": 30, "token_limit": 8
}  # fmt: skip
Fit = Callable[[int], NDArray[np.float64]]


@pytest.fixture(scope="module")
def fit() -> Fit:
    """`fit(seed)`: predictions of a model that was trained with this seed."""
    table = read_table(datasets.example().table)
    counts = pd.DataFrame(table.counts.toarray(), index=table.sample_ids, columns=table.asv_ids).iloc[:24]
    target = np.linspace(0.0, 1.0, 24)
    return lambda seed: AAMRegressor(**SETTINGS, seed=seed).fit(counts, target).predict(counts)


def in_threads(fit: Fit, seeds: list[int]) -> list[NDArray[np.float64]]:
    with ThreadPoolExecutor(len(seeds)) as pool:
        return list(pool.map(fit, seeds))


def in_joblib(fit: Fit, seeds: list[int]) -> list[NDArray[np.float64]]:
    return Parallel(n_jobs=2, backend="threading")(delayed(fit)(seed) for seed in seeds)


@pytest.mark.parametrize("parallel", [in_threads, in_joblib])
def test_two_estimators_in_two_threads(fit: Fit, parallel: Callable[..., list[NDArray[np.float64]]]):
    alone = [fit(seed) for seed in (1, 2)]
    assert not np.array_equal(*alone)
    for found, expected in zip(parallel(fit, [1, 2]), alone, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_ten_times_it_is_the_same(fit: Fit):
    alone = [fit(seed) for seed in (1, 2, 3)]
    for _ in range(10):
        for found, expected in zip(in_threads(fit, [1, 2, 3]), alone, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_two_pretrainings_in_two_threads(tmp_path: Path):
    """`aam.pretrain` is the same as alone to the last bit of its weights; dropout is on."""

    def weights(name: str, seed: int) -> bytes:
        run = aam.pretrain(
            example=True, output_dir=tmp_path / name, preset="tiny", max_bp=20, token_limit=8, batch_size=8, seed=seed,
            max_steps=4, device="cpu", preflight=False,
        )  # fmt: skip
        return (run.folder / "last" / "model.safetensors").read_bytes()

    alone = [weights(f"alone {seed}", seed) for seed in (1, 2)]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda seed: weights(f"together {seed}", seed), (1, 2)))
    assert together == alone
