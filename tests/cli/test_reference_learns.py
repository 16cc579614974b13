"""`aam reference` learns the placement, goes on where it was stopped, and `aam place` uses what was learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mutated_genes import fasta, mutated_genes

from aam.cli import main
from aam.placement.placer_file import ABOUT, WEIGHTS
from aam.workflows import learn_placement
from aam.workflows.learn_placement import STATE, TENSORS

Said = pytest.CaptureFixture[str]
TIPS = 520


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """V4 fragments of 520 tips (some no longer 16S), their tree, a genus for every ten; as options."""
    monkeypatch.chdir(tmp_path)
    genes = mutated_genes([f"t{number}" for number in range(TIPS)], first=611, last=759)
    Path("s.fasta").write_text(fasta(genes.sequences()))
    Path("t.nwk").write_text(genes.tree.to_newick())
    lineages = [f"{name}\td__B;p__P;c__C;o__O;f__F;g__G{row // 10}" for row, name in enumerate(genes.tree.tip_names)]
    Path("x.tsv").write_text("\n".join(lineages) + "\n")
    Path("asvs.fasta").write_text(fasta(dict(list(genes.sequences().items())[:5])))
    files = ["--sequences", "s.fasta", "--tree", "t.nwk", "--taxonomy", "x.tsv"]
    return ["reference", *files, "--region", "v4", "--learn-steps", "20", "-o", "made"]


def test_what_is_learned_is_used(inputs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Said):
    monkeypatch.setattr(learn_placement, "STEPS_AT_ONCE", 8)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(learn_placement, "fitted", stop)  # as by Ctrl-C after the last step
        assert main(inputs) == 4
    assert Path("made", STATE).exists() and not Path("made", ABOUT).exists()
    assert main(inputs) == 0
    said = capsys.readouterr().err
    assert "goes on with the learning from step 20" in said and "tips held out: error of the place" in said
    assert not Path("made", TENSORS).exists() and Path("made", WEIGHTS).exists()
    about = json.loads(Path("made", ABOUT).read_text())
    assert 0 < about["figures"]["tips_closest"] <= 1 and about["figures"]["steps"] == 20
    assert main(["place", "--sequences", "asvs.fasta", "--reference", "made", "-o", "placed"]) == 0
    table = pd.read_csv("placed/placements.tsv", sep="\t")
    assert (table["fate"] == "placed").all() and (table["differing_columns"] == 0).all()
    assert np.isfinite(table["expected_error"]).all()
    assert main(inputs) == 0 and "is complete already" in capsys.readouterr().err
