"""`aam export`: programs that are the model, for any number of ASVs and samples, in a process without the package."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from trained_run import save_run

from aam.checkpoint import open_encoder
from aam.cli import main

LOAD = """
import sys, torch
program = torch.export.load(sys.argv[1]).module()
torch.save(program(*torch.load(sys.argv[2])), sys.argv[3])
assert not any(name == "aam" or name.startswith("aam.") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and both programs of it."""
    where = tmp_path_factory.mktemp("export")
    save_run(where / "run")
    for what in ("asvs", "samples"):
        assert main(["export", "--model", str(where / "run"), "--what", what, "-o", str(where / f"{what}.pt2")]) == 0
    return where


def about(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("aam.json")]
        return json.loads(archive.read(name))


def test_asvs_by_the_example_of_the_manual(folder: Path):
    program = torch.export.load(folder / "asvs.pt2").module()
    tokens = torch.tensor([[5, 1, 2, 3, 4, 4, 1, 2], [5, 4, 4, 1, 2, 3, 1, 0]], dtype=torch.uint8)
    model, _ = open_encoder(folder / "run")
    model.eval()
    torch.testing.assert_close(program(tokens), model.asv_encoder.embed(tokens), atol=1e-5, rtol=0)
    told = about(folder / "asvs.pt2")
    assert told["tokens"] == {"padding": 0, "A": 1, "C": 2, "G": 3, "T": 4, "start": 5, "unknown": 6}
    assert (told["length"], told["dim"]) == ([7, 151], 32)  # patches of 5 bases, 150 of them
    with pytest.raises(AssertionError, match="L|size|shape"):
        program(tokens[:, :6])


@pytest.mark.parametrize("shape", [(1, 1), (9, 4), (2, 130)], ids=str)
def test_samples_of_any_number_and_size(folder: Path, shape: tuple[int, int]):
    program = torch.export.load(folder / "samples.pt2").module()
    model, config = open_encoder(folder / "run")
    generator = torch.Generator().manual_seed(0)
    asvs = torch.randn(*shape, config.dim, generator=generator)
    valid = torch.rand(shape, generator=generator) < 0.7
    valid[:, 0] = True
    abundance = torch.rand(shape, generator=generator)
    found = program(asvs, abundance, valid)
    torch.testing.assert_close(found, model.eval().sample_encoder(asvs, abundance, valid).embeddings, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_program_needs_nothing_of_this_package(folder: Path, tmp_path: Path):
    tokens = torch.tensor([[5, *([1, 2, 3, 4] * 25)]], dtype=torch.uint8)
    torch.save((tokens,), tmp_path / "in.pt")
    files = [str(folder / "asvs.pt2"), str(tmp_path / "in.pt"), str(tmp_path / "out.pt")]
    subprocess.run([sys.executable, "-c", LOAD, *files], check=True, cwd=tmp_path)
    model, _ = open_encoder(folder / "run")
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    torch.testing.assert_close(found, model.eval().asv_encoder.embed(tokens), atol=1e-5, rtol=0)


def test_refusals_are_one_line_and_leave_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = ["export", "--model", str(folder / "run"), "-o"]
    assert main([*given, str(tmp_path / "encoder.onnx")]) == 2
    assert "expected .pt2" in capsys.readouterr().err
    assert main([*given, str(folder / "asvs.pt2")]) == 2
    assert main(["export", "--model", str(tmp_path), "-o", str(tmp_path / "x.pt2")]) == 2
    assert capsys.readouterr().err.count("\n") == 2 and not list(tmp_path.iterdir())
