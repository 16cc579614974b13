"""The quarantine ledger adds up exactly, survives crashes, and compares runs as the case on record."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam.errors import InputError, LedgerError, NonFiniteError
from aam.health.ledger import Ledger
from aam.health.lost_samples import compare_losses, find_bias, read_lost


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def test_entered_is_kept_plus_quarantined(path):
    ledger = Ledger(path)
    ledger.enter("read", "sample", ["a", "b", "c", "d"])
    ledger.quarantine("read", "sample", ["b"], "no ASV with a count above 0")
    account = ledger.close("read", "sample", ["a", "c", "d"])
    assert (account.entered, account.kept, account.quarantined) == (4, 3, 1)
    with pytest.raises(LedgerError, match="4 samples entered, 1 quarantined, but 2 are kept; unaccounted: d"):
        ledger.close("read", "sample", ["a", "c"])
    with pytest.raises(LedgerError, match="unaccounted: b"):
        ledger.close("read", "sample", ["a", "b", "c", "d"])
    with pytest.raises(LedgerError, match="unaccounted: a"):
        ledger.close("read", "sample", ["a", "a", "c", "d"])


def test_what_does_not_add_up_is_refused(path):
    ledger = Ledger(path)
    ledger.enter("train", "asv", ["x"])
    with pytest.raises(LedgerError, match="'y' was never there"):
        ledger.quarantine("train", "asv", ["y"], "?")
    with pytest.raises(LedgerError, match="'x' enters twice"):
        ledger.enter("other", "asv", ["x", "x"])
    with pytest.raises(LedgerError, match="before any sample entered"):
        ledger.close("train", "sample", [])
    with pytest.raises(LedgerError, match="reopened with other asvs"):
        ledger.enter("train", "asv", ["x", "y"])
    ledger.enter("train", "asv", ["x"])  # the same again: a resumed run


def test_a_loss_is_counted_once(path):
    ledger = Ledger(path)
    ledger.enter("train", "sample", ["a", "b"])
    ledger.quarantine("train", "sample", ["a"], "NaN", step=3)
    ledger.quarantine("train", "sample", ["a"], "NaN", step=9)
    assert len(ledger.losses) == 1 and ledger.losses[0].facts == {"step": 3}


def test_it_goes_on_after_a_restart_and_after_a_line_cut_short(path):
    ledger = Ledger(path, budget=1.0)
    ledger.enter("train", "sample", ["a", "b", "ä\n"])
    ledger.quarantine("train", "sample", ["a"], "NaN", step=3, nan=151)
    with path.open("a") as file:
        file.write('{"quarantine": "tr')
    size = path.stat().st_size
    assert Ledger.read(path).losses == ledger.losses and path.stat().st_size == size  # looking changes nothing
    again = Ledger(path)
    assert again.accounts() == ledger.accounts() and again.losses == ledger.losses
    again.quarantine("train", "sample", ["b"], "NaN")
    assert Ledger.read(path).lost() == {"a", "b"}


@pytest.mark.parametrize(
    "line", [b"[1]", b"\xff\xfe", b"{}", b'{"enter": "train", "item": "sample", "ids": 5}', b"[" * 9999]
)
def test_lines_that_are_no_entries_are_named(path, line):
    Ledger(path).enter("train", "sample", ["a"])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(LedgerError, match=r"line 2: not an entry"):
        Ledger.read(path)


def test_budget_charges_only_what_nobody_planned():
    ledger = Ledger(budget=0.0)
    ledger.enter("read", "sample", [str(i) for i in range(100)])
    ledger.quarantine("read", "sample", ["0", "1"], "fewer reads than the rarefaction depth", planned=True)
    ledger.check()
    ledger.quarantine("read", "sample", ["2"], "NaN")
    with pytest.raises(
        NonFiniteError, match=r"1 of 100 samples are quarantined, above the budget of 0.00%: 2"
    ) as caught:
        ledger.check()
    assert caught.value.exit_code == 3
    ledger.budget = 0.01
    ledger.check()
    assert ledger.state_dict()["accounts"] == [
        {"stage": "read", "item": "sample", "entered": 100, "quarantined": 3, "kept": 97}
    ]


@given(st.sets(st.text(min_size=1), max_size=20), st.data())
def test_any_partition_adds_up(ids, data):
    gone = data.draw(st.sets(st.sampled_from(sorted(ids)))) if ids else set()
    ledger = Ledger()
    ledger.enter("s", "sample", ids)
    ledger.quarantine("s", "sample", gone, "r")
    account = ledger.close("s", "sample", ids - gone)
    assert account.entered == account.kept + account.quarantined == len(ids)


def test_the_case_on_record():
    """38 and 19 of 100 prompts lost, all 19 among the 38. By hand: p = C(38, 19) C(62, 0) / C(100, 19)."""
    a, b = {f"q{i}" for i in range(38)}, {f"q{i}" for i in range(19)}
    result = compare_losses(a, b, total=100)
    assert (result.both, result.containment, result.jaccard) == (19, 1.0, 0.5)
    assert result.expected == pytest.approx(7.22)
    assert result.p == pytest.approx(2.7e-10, rel=0.02)


def test_compare_of_nothing_and_of_too_much():
    assert np.isnan(compare_losses(set(), set(), 10).jaccard) and compare_losses(set(), set(), 10).p == 1
    assert compare_losses({"a"}, {"b"}).p is None and compare_losses(set(), set(), 0).p is None
    with pytest.raises(InputError, match="--total 1 is smaller than the 2 different ids"):
        compare_losses({"a"}, {"b"}, 1)


def test_lost_from_runs_ledgers_and_lists(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.enter("train", "sample", ["a", "b", "c"])
    ledger.quarantine("train", "sample", ["a"], "NaN", nan=130_560)
    for source in (tmp_path, tmp_path / "ledger.jsonl"):
        lost = read_lost(source)
        assert (lost.ids, lost.total, lost.nan_counts) == (frozenset("a"), 3, {"a": 130_560})
    plain = tmp_path / "lost.txt"
    plain.write_text("a\t80640\n\nwho is the richest person?\n")
    lost = read_lost(plain)
    assert lost.ids == {"a", "who is the richest person?"} and lost.total is None and lost.nan_counts == {"a": 80640}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\na\n", "line 2: id 'a' stands twice"),
        (b"a\tmany\n", "number of NaN"),
        (b"a\t\xc2\xb2\n", "number of NaN"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_bad_lists_are_refused(tmp_path, text, message):
    file = tmp_path / "list.txt"
    file.write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_lost(file)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_lost(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no ledger"):
        read_lost(tmp_path)


def test_bias_finds_what_was_planted_and_nothing_else():
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(100)]
    lost = set(ids[:20])
    columns = {
        "depth": {name: float(rng.normal(2.0 if name in lost else 0.0)) for name in ids},
        "site": {name: "gut" if name in lost or rng.random() < 0.1 else "skin" for name in ids},
        "age": {name: float(rng.normal()) for name in ids},
        "sex": {name: str(rng.choice(["f", "m"])) for name in ids},
        "barcode": {name: name for name in ids},
        "constant": dict.fromkeys(ids, "x"),
        "empty": dict.fromkeys(ids),
    }
    rows = {row.column: row for row in find_bias(lost, set(ids) - lost, columns)}
    assert set(rows) == {"depth", "site", "age", "sex"}
    assert rows["depth"].effect > 0.6 and rows["depth"].adjusted < 1e-4
    assert rows["site"].effect > 0.6 and rows["site"].adjusted < 1e-2
    assert rows["age"].adjusted > 0.05 and rows["sex"].adjusted > 0.05


def test_effects_by_hand():
    (row,) = find_bias({"a", "b"}, {"c", "d"}, {"x": {"a": 5, "b": 6, "c": 1, "d": 5.5}})
    # of the 4 pairs lost x kept, lost is larger in (5,1), (6,1), (6,5.5): U = 3, effect = 2 * 3 / 4 - 1
    assert row.effect == pytest.approx(0.5)
    (row,) = find_bias({"a", "b"}, {"c", "d"}, {"x": {"a": "u", "b": "u", "c": "v", "d": "v"}})
    assert row.effect == pytest.approx(1.0)
    assert row.p == pytest.approx(1 / 3, abs=0.02)  # 2 of the 6 ways to lose two of four separate as well


def test_every_line_is_json(path):
    ledger = Ledger(path)
    ledger.enter("s", "sample", ["a"])
    ledger.quarantine("s", "sample", ["a"], "r", module="x.y", op="_softmax")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records[1] == {
        "quarantine": "s", "item": "sample", "id": "a", "reason": "r", "planned": False, "module": "x.y",
        "op": "_softmax",
    }  # fmt: skip
