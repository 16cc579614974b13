"""The encoder as a step of scikit-learn: the embeddings of `aam embed`, in pipelines and grouped cross-validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from trained_run import save_run

from aam import datasets
from aam.cli import main
from aam.errors import ConfigError, EmptySampleError, SequenceError, TableError
from aam.inference.known_asvs import reverse_complement
from aam.io.sequences import tokenize
from aam.io.table import Table, read_table
from aam.sklearn import AAMEncoder

SOME = 24


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("sklearn") / "run")


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table(datasets.example().table).select(samples=np.arange(SOME))


@pytest.fixture(scope="module")
def frame(table: Table) -> pd.DataFrame:
    return pd.DataFrame(table.counts.toarray(), index=table.sample_ids, columns=table.asv_ids)


def test_it_is_what_the_command_line_writes(run: Path, frame: pd.DataFrame, tmp_path: Path):
    assert main(["embed", "--model", str(run), "--example", "-o", str(tmp_path / "e.tsv")]) == 0
    written = pd.read_csv(tmp_path / "e.tsv", sep="\t", index_col="sample-id")
    assert AAMEncoder(run).fit_transform(frame) == pytest.approx(written.loc[frame.index].to_numpy(), abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_token_limit_and_precision_are_those_of_the_command_line(
    precision: str, table: Table, frame: pd.DataFrame, tmp_path: Path
):
    run = save_run(tmp_path / "run", token_limit=4)
    asked = ["--precision", precision, "--device", "cpu", "-o", str(tmp_path / "e.tsv")]
    assert main(["embed", "--model", str(run), "--example", *asked]) == 0
    written = pd.read_csv(tmp_path / "e.tsv", sep="\t", index_col="sample-id").loc[frame.index].to_numpy()
    assert table.richness().min() > 4
    found = AAMEncoder(run, precision=precision, device="cpu", cache=tmp_path / "cache").fit_transform(frame)
    assert found == pytest.approx(written, abs=1e-5 if precision == "fp32" else 0.02)
    assert (np.abs(found - AAMEncoder(run).fit_transform(frame)).max() > 1e-4) == (precision == "bf16")
    with pytest.raises(ConfigError, match="precision is 'fp64', expected"):
        AAMEncoder(run, precision="fp64").fit(frame)


def test_a_biom_table_gives_the_same(run: Path, frame: pd.DataFrame, table: Table):
    from biom import Table as BiomTable

    other = BiomTable(table.counts.toarray().T, table.asv_ids, table.sample_ids)
    encoder = AAMEncoder(run).fit(frame)
    assert np.allclose(encoder.transform(other), encoder.transform(frame), atol=1e-6)


def test_a_sample_is_embedded_alike_in_any_company_and_any_columns(run: Path, frame: pd.DataFrame, tmp_path: Path):
    encoder = AAMEncoder(run, cache=tmp_path).fit(frame)
    whole = encoder.transform(frame)
    shuffled = frame.sample(frac=1.0, axis=1, random_state=0).iloc[[5, 2]]
    assert np.allclose(encoder.transform(shuffled), whole[[5, 2]], atol=1e-5)
    assert list(tmp_path.rglob("*.safetensors"))


def test_it_sits_in_a_pipeline_with_groups(run: Path, frame: pd.DataFrame):
    y, groups = np.arange(SOME) % 5, np.arange(SOME) // 4
    pipeline = make_pipeline(AAMEncoder(str(run)), Ridge())
    scores = cross_val_score(pipeline, frame, y, groups=groups, cv=GroupKFold(3), error_score="raise")
    assert scores.shape == (3,) and np.isfinite(scores).all()


def test_it_clones_and_names_its_columns(run: Path, frame: pd.DataFrame):
    encoder = clone(AAMEncoder(run, rarefy_depth=500, seed=3))
    assert encoder.get_params() == {"model": run, "rarefy_depth": 500, "seed": 3, "cache": None, "device": "auto",
                                    "sequences": None, "precision": "fp32"}  # fmt: skip
    found = encoder.set_output(transform="pandas").fit_transform(frame)
    assert list(found.columns[:2]) == ["aam1", "aam2"] and list(found.index) == list(frame.index)


def test_rarefaction_leaves_shallow_samples_whole(run: Path):
    deep_and_shallow = pd.DataFrame([[900, 100], [3, 1]], columns=["ACGTACGT", "CCCCGGGG"], index=["deep", "shallow"])
    plain = AAMEncoder(run).fit_transform(deep_and_shallow)
    drawn = AAMEncoder(run, rarefy_depth=50).fit_transform(deep_and_shallow)
    assert not np.allclose(plain[0], drawn[0], atol=1e-6)
    assert np.allclose(plain[1], drawn[1], atol=1e-6)


def test_reverse_complements_are_warned_of(run: Path, frame: pd.DataFrame):
    """Of a model that knows what is usual at each position of the reads of the example."""
    encoder, dna = AAMEncoder(run).fit(frame), list(frame.columns)
    encoder.encoder_.asv_encoder.initialise_from(torch.from_numpy(tokenize(dna, encoder.max_bp_)))
    encoder.transform(frame)  # without a warning, which would be an error
    with pytest.warns(UserWarning, match="these ASVs are reverse complements of what the model has learned from"):
        encoder.transform(frame.set_axis([reverse_complement(sequence) for sequence in dna], axis=1))


@pytest.mark.parametrize(
    ("values", "columns", "error", "message"),
    [
        ([[1.5, 2.0]], ["ACGT", "CCCC"], TableError, "sample '0' holds 1.5, expected counts"),
        ([[1, -2]], ["ACGT", "CCCC"], TableError, "holds -2"),
        ([[0, 0]], ["ACGT", "CCCC"], EmptySampleError, "Sample 0 has no ASVs"),
        ([[1, 2]], ["ACGT", "taxon"], SequenceError, "the columns of X.*not DNA"),
    ],
)
def test_what_is_no_table_is_refused(run: Path, values: list, columns: list[str], error: type, message: str):
    with pytest.raises(error, match=message):
        AAMEncoder(run).fit_transform(pd.DataFrame(values, columns=columns))


def test_transform_needs_fit(run: Path, frame: pd.DataFrame):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        AAMEncoder(run).transform(frame)
