"""The first lines of a ledger: everything that was in the table, kept or left out, and not too much of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from aam.corpus.rarefy import SHALLOW
from aam.corpus.samples import NOT_IN_TREE
from aam.health.ledger import Ledger
from aam.io.table import Table
from aam.training import faults as accounts

TABLE = Table(csr_array(np.ones((2, 3), np.int64)), ["s1", "s2"], ["A", "C", "G"], ["A", "C", "G"], Path("t.tsv"))
DROPPED = {SHALLOW: ["s3"], NOT_IN_TREE: ["T", "TT"]}


def test_kept_and_left_out_add_up():
    ledger = Ledger()
    accounts.enter_table(ledger, TABLE, DROPPED)
    found = [(account.item, account.entered, account.quarantined) for account in ledger.accounts()]
    assert found == [("sample", 3, 1), ("asv", 5, 2)]


def test_of_millions_none_is_listed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accounts, "LISTED", 2)
    ledger = Ledger()
    accounts.enter_table(ledger, TABLE, DROPPED)
    assert [account.item for account in ledger.accounts()] == ["sample"]
