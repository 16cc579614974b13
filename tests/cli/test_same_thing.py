"""The same samples give the same results: whatever their order, their company, and the ids of their ASVs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam.cli import main
from aam.datasets import example
from aam.io.table import Table, read_table

DEPTH = "400"
TRAINING = ["--preset", "tiny", "--max-steps", "2", "--no-preflight", "--device", "cpu"]


def write(folder: Path, counts: pd.DataFrame, sequences: Sequence[str] | None = None) -> list[str]:
    """Write counts [ASVs, samples] as TSV, with a FASTA file if ids are no DNA; returns the options."""
    folder.mkdir(parents=True)
    counts.rename_axis("#OTU ID").to_csv(folder / "table.tsv", sep="\t")
    if sequences is None:
        return ["--table", str(folder / "table.tsv")]
    records = (f">{name}\n{text}\n" for name, text in zip(counts.index, sequences, strict=True))
    (folder / "s.fasta").write_text("".join(records))
    return ["--table", str(folder / "table.tsv"), "--sequences", str(folder / "s.fasta")]


def frame_of(table: Table) -> pd.DataFrame:
    """Counts [ASVs, samples] by DNA and sample id."""
    return pd.DataFrame(table.counts.toarray().T, index=list(table.sequences), columns=list(table.sample_ids))


def split_in_two(counts: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, list[str]]:
    """Every third ASV under two ids, which divide its reads; all ids are names."""
    part = counts.iloc[::3]
    half = pd.DataFrame(rng.integers(0, part.to_numpy() + 1), index=part.index, columns=part.columns)
    first = counts.copy()
    first.iloc[::3] -= half
    both = pd.concat([half, first]).iloc[rng.permutation(len(half) + len(first))]
    sequences = list(both.index)
    both.index = pd.Index([f"asv{row}" for row in range(len(both))])
    return both[both.columns[::-1]], sequences


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Tables of the same samples, or some of them; "base" is the first."""
    folder, rng = tmp_path_factory.mktemp("variants"), np.random.default_rng(0)
    table = read_table(example().table)
    deep = table.depths() >= int(DEPTH)
    base = frame_of(table.select(samples=np.flatnonzero(deep)[:24]).drop_absent_asvs())
    doubled, sequences = split_in_two(base, rng)
    rna = [text.lower().replace("t", "u") if row % 2 else text for row, text in enumerate(base.index)]
    spelled = base.set_axis([f"x{row}" for row in range(len(base))])
    return {
        "base": write(folder / "base", base),
        "rows": write(folder / "rows", base.iloc[rng.permutation(len(base))]),
        "columns": write(folder / "columns", base.iloc[:, rng.permutation(base.shape[1])]),
        "part": write(folder / "part", base.iloc[rng.permutation(len(base)), 20:3:-4]),
        "twice": write(folder / "twice", doubled, sequences),
        "rna": write(folder / "rna", spelled, rna),
    }


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", index_col=0)


def results(
    command: Sequence[str], variants: dict[str, list[str]], folder: Path, names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """What a command writes of each variant."""
    found = {}
    for name in names:
        output = folder / f"{name}.tsv"
        assert main([*command, *variants[name], "-o", str(output)]) == 0
        found[name] = read(output)
    return found


def agree(found: dict[str, pd.DataFrame], square: bool = False) -> None:
    """Every variant gives each of its samples what the base gives it, and in the order of its own table."""
    base = found["base"]
    for name, other in found.items():
        wanted = base.loc[other.index, other.index] if square else base.loc[other.index]
        numbers = wanted.select_dtypes("number").columns
        assert np.allclose(other[numbers], wanted[numbers], rtol=2e-4, atol=2e-5), name


ALL = ("base", "rows", "columns", "part", "twice", "rna")


def test_embeddings(run: Path, variants: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["embed", "--model", str(run), "--rarefy-depth", DEPTH, "--device", "cpu"]
    found = results(command, variants, tmp_path, ALL)
    agree(found)
    assert list(found["columns"].index) == list(read_columns(variants["columns"]))  # the order of the file
    assert "with the DNA of another one, under another id" in capsys.readouterr().err


def read_columns(options: Sequence[str]) -> list[str]:
    return list(pd.read_csv(options[1], sep="\t", index_col=0, nrows=1).columns)


def test_embeddings_of_asvs_have_the_order_of_the_file(run: Path, variants: dict[str, list[str]], tmp_path: Path):
    command = ["embed", "--what", "asvs", "--model", str(run), "--device", "cpu"]
    found = results(command, variants, tmp_path, ("base", "rows"))
    agree(found)
    for name in found:
        assert list(found[name].index) == list(pd.read_csv(variants[name][1], sep="\t", index_col=0).index)


def test_distances_of_a_model(run: Path, variants: dict[str, list[str]], tmp_path: Path):
    command = ["distance", "--method", "latent-tree", "--model", str(run), "--rarefy-depth", DEPTH, "--device", "cpu"]
    agree(results(command, variants, tmp_path, ALL), square=True)


def test_distances_of_a_tree(variants: dict[str, list[str]], tmp_path: Path):
    command = ["unifrac", "--tree", str(example().tree), "--rarefy-depth", DEPTH]
    agree(results(command, variants, tmp_path, ("base", "rows", "columns", "part")), square=True)


@pytest.fixture(scope="module")
def trained(variants: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`trained(name)`: a training on a variant, with the depth `DEPTH`."""
    folder, made = tmp_path_factory.mktemp("trained-same"), dict[str, Path]()

    def train(name: str) -> Path:
        if name not in made:
            made[name] = folder / name
            options = ["--metadata", str(example().metadata), "--target", "age_months", "--rarefy-depth", DEPTH]
            command = ["train", *variants[name], *options, *TRAINING, "--folds", "2", "--batch-size", "8"]
            assert main([*command, "--output-dir", str(made[name])]) == 0
        return made[name]

    return train


def test_predictions(trained: Callable[[str], Path], variants: dict[str, list[str]], tmp_path: Path):
    agree(results(["predict", "--model", str(trained("base")), "--device", "cpu"], variants, tmp_path, ALL))


@pytest.mark.parametrize(
    "name", ["columns", "twice", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rows", "rna"))]
)
def test_training(trained: Callable[[str], Path], name: str):
    """The very same draws, batches and folds: out-of-fold predictions are equal to the last digit written."""
    one, other = (read(trained(each) / "predictions.tsv") for each in ("base", name))
    assert one.equals(other)


def test_pretraining_is_of_the_same_batches(variants: dict[str, list[str]], tmp_path: Path):
    """Loss terms of two steps, and the best checkpoint, bit by bit."""
    logs = []
    for name in ("base", "rows", "columns"):
        out = tmp_path / name
        options = ["--tree", str(example().tree), "--rarefy-depth", DEPTH, "--batch-size", "8"]
        assert main(["pretrain", *variants[name], *options, *TRAINING, "--output-dir", str(out)]) == 0
        logs.append((out / "best" / "model.safetensors").read_bytes())
    assert logs[0] == logs[1] == logs[2]
