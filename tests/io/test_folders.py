"""A folder is one process's alone, and a JSON file is read with the error of its reader."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from pathlib import Path

import pytest
from processes import Copy

from aam.errors import CheckpointError, CorpusError
from aam.io.files import LOCK, lock_folder, read_json_file, try_lock
from aam.training.world import is_running


def test_who_comes_second_is_refused_until_the_first_has_ended(tmp_path: Path):
    for _ in range(2):
        with lock_folder(tmp_path / "x", "--output", CorpusError):
            with pytest.raises(CorpusError, match="another process is writing there"):
                lock_folder(tmp_path / "x", "--output", CorpusError).__enter__()
            assert (tmp_path / "x" / LOCK).exists()
        assert not (tmp_path / "x").exists()


def test_a_lock_that_was_removed_after_it_was_opened_is_none(tmp_path: Path):
    """Else two processes had the folder: one this file, the next the file that takes its place."""
    path = tmp_path / LOCK
    with path.open("a") as handle:
        path.unlink()
        assert not try_lock(handle, path)
        path.touch()
        assert not try_lock(handle, path)
    with path.open("a") as handle:
        assert try_lock(handle, path)


def test_a_killed_process_gives_its_lock_up_though_its_workers_still_live(tmp_path: Path):
    """A worker is a copy of the process, with its open files; it takes a moment to see that the other is gone."""
    told, tell = os.pipe()

    def work() -> None:
        with lock_folder(tmp_path / "x", "--output", CorpusError):
            worker = Copy(lambda: time.sleep(60))
            os.write(tell, str(worker.pid).encode())
            time.sleep(60)

    process = Copy(work)
    worker = int(os.read(told, 20))
    try:
        with pytest.raises(CorpusError, match="another process is writing there"):
            lock_folder(tmp_path / "x", "--output", CorpusError).__enter__()
        process.kill()
        with lock_folder(tmp_path / "x", "--output", CorpusError):
            assert is_running(worker)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_without_locks_of_the_file_system_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(handle: object, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock_folder(tmp_path / "x", "--output", CorpusError):
        assert (tmp_path / "x" / LOCK).exists()


@pytest.mark.parametrize(
    ("text", "fault"), [("{", "Expecting"), ("[]", "indices"), ('{"b": 1}', "'a'"), (None, "No such")]
)
def test_a_json_file_that_cannot_be_used_is_refused_with_the_advice_of_its_reader(tmp_path, text, fault):
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CheckpointError, match=rf"x\.json: not readable \(.*{fault}.*\); train again"):
        read_json_file(path, lambda record: int(record["a"]), CheckpointError, "train again")
    path.write_text('{"a": 3}')
    assert read_json_file(path, lambda record: int(record["a"]), CheckpointError, "train again") == 3
