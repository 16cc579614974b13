"""Locks and faults of the machine are told from damage of an HDF5 file."""

from __future__ import annotations

import errno
import fcntl

import h5py
import pytest

from aam.errors import TableError, expected_error
from aam.io.table import read_table

COUNTS = [[5, 0, 2, 1], [0, 7, 0, 3], [1, 1, 1, 1]]
"""The table of `write_biom`."""


def test_a_file_that_another_program_writes_is_locked_not_damaged(write_biom):
    path = write_biom()
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as HDF5 locks what it has open for writing
        with pytest.raises(TableError, match="table.biom is locked by another program .* HDF5_USE_FILE_LOCKING=FALSE"):
            read_table(path)
        fcntl.flock(held, fcntl.LOCK_SH)  # another reader
        assert read_table(path).counts.toarray().tolist() == COUNTS


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, 524])
def test_a_file_system_without_locks_is_read_without(number, write_biom, monkeypatch):
    path, plain = write_biom(), h5py.File

    def without_locks(name, mode, locking=None, **options):
        if name == path and locking is not False:
            raise OSError(number, f"Unable to synchronously open file (unable to lock file, errno = {number})")
        return plain(name, mode, locking=locking, **options)

    monkeypatch.setattr(h5py, "File", without_locks)
    assert read_table(path).counts.toarray().tolist() == COUNTS


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_fault_of_the_machine_is_said_as_such(number, write_biom, monkeypatch):
    path = write_biom()

    def broken(*_, **__):
        raise OSError(number, f"Unable to synchronously open file (errno = {number})")

    monkeypatch.setattr(h5py, "File", broken)
    with pytest.raises(OSError, match="table.biom") as caught:
        read_table(path)
    text, code = expected_error(caught.value)
    assert code == 1 and "damaged" not in text and str(path) in text


def test_a_file_that_was_not_closed_says_so(write_biom, tmp_path):
    with h5py.File(tmp_path / "t.biom", "w", libver="latest") as file:
        file["x"] = 1
        file.swmr_mode = True
        copy = (tmp_path / "t.biom").read_bytes()
    (tmp_path / "copy.biom").write_bytes(copy)
    with pytest.raises(TableError, match=r"copy.biom is marked as open for writing: .*clear the mark \(h5clear -s\)"):
        read_table(tmp_path / "copy.biom")
