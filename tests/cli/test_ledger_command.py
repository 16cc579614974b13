"""`aam ledger`: the case on record by its printed figures, and ledgers of runs."""

from __future__ import annotations

import pytest

from aam.cli import main
from aam.health.ledger import Ledger


@pytest.fixture
def lists(tmp_path):
    """38 and 19 of 100 questions lost, all 19 among the 38, with counts of NaN."""
    counts = [130_560, 80_640, 157_440]
    for name, size in (("a", 38), ("b", 19)):
        lines = [f"question {i}\t{counts[i % 3]}" for i in range(size)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_compare_prints_the_figures_of_the_case_on_record(lists, capsys):
    assert main(["ledger", "compare", *lists, "--total", "100"]) == 0
    printed = capsys.readouterr().out
    assert "overlap: 19 (7.2 expected by chance)" in printed
    assert "containment: 100 %" in printed
    assert "Jaccard: 0.50" in printed
    assert "p: 2.7e-10" in printed
    assert "130,560 = 34 whole rows of 3,840" in printed
    assert "NaN in A: and 30 more" in printed


def test_compare_without_a_total_says_what_is_missing(lists, capsys):
    assert main(["ledger", "compare", *lists]) == 0
    assert "unknown; say with --total" in capsys.readouterr().out


def run(folder, size, lost):
    folder.mkdir()
    ledger = Ledger(folder / "ledger.jsonl")
    ledger.enter("train", "sample", [f"s{i}" for i in range(size)])
    ledger.quarantine("train", "sample", lost, "NaN in the loss", step=3, nan=130_560)
    return str(folder)


def test_compare_takes_the_total_from_the_ledgers(tmp_path, capsys):
    a, b = run(tmp_path / "a", 10, ["s1", "s2"]), run(tmp_path / "b", 10, ["s1"])
    assert main(["ledger", "compare", a, b]) == 0
    assert "hypergeometric p: 2.0e-01" in capsys.readouterr().out  # 2 of 10
    c = run(tmp_path / "c", 11, [])
    assert main(["ledger", "compare", a, c]) == 2
    assert "saw 10 items and" in capsys.readouterr().err
    assert main(["ledger", "compare", a, c, "--total", "10"]) == 0


def test_show(tmp_path, capsys):
    folder = run(tmp_path / "run", 30, ["s0", "s1", "s2", "s3", "s4", "s5"])
    metadata = tmp_path / "metadata.tsv"
    rows = [f"s{i}\t{'sick' if i < 6 else 'well'}\t{i % 7}" for i in range(40)]  # ten were never in the run
    metadata.write_text("sample-id\tstate\tday\n" + "\n".join(rows) + "\n")
    assert main(["ledger", "show", folder, "--metadata", str(metadata)]) == 0
    printed = capsys.readouterr().out
    assert "30 = 24 kept + 6 lost" in printed
    assert "train: 6 samples: NaN in the loss: s0, s1" in printed
    assert "s0: 130,560 = 34 whole rows of 3,840" in printed
    biased = [line for line in printed.splitlines() if line.endswith("BIASED")]
    assert len(biased) == 1 and "state" in biased[0] and "effect +1.00" in biased[0]
    assert "6 lost, 24 kept" in biased[0]


def test_missing_ledger_is_refused(tmp_path, capsys):
    assert main(["ledger", "show", str(tmp_path)]) == 2
    assert "no ledger.jsonl here" in capsys.readouterr().err


def test_a_run_alone_is_shown_and_of_folds_every_one(tmp_path, capsys):
    (tmp_path / "folded").mkdir()
    run(tmp_path / "folded" / "fold-1", 10, ["s1"])
    run(tmp_path / "folded" / "fold-2", 20, [])
    assert main(["ledger", str(tmp_path / "folded")]) == 0
    printed = capsys.readouterr().out
    assert printed.index("fold-1") < printed.index("10 = 9 kept + 1 lost") < printed.index("fold-2")
    assert "20 = 20 kept + 0 lost" in printed
