"""All error classes of `aam`; a caller can catch one class or a parent of several.

    AamError                    exit code
    ├── InputError (ValueError)      2   a file or an option was refused; nothing was written
    │   ├── TableError                   feature table
    │   │   └── EmptySampleError         a sample without an ASV of positive count
    │   ├── SequenceError                ASV sequences
    │   ├── TreeError                    phylogeny
    │   ├── MatrixError                  precomputed distances
    │   ├── MetadataError                sample metadata
    │   ├── CorpusError                  folders that `aam prepare` wrote
    │   ├── TaxonomyError                lineages of the tips of a reference
    │   ├── ReferenceFolderError         folders that `aam reference` wrote
    │   ├── ConfigError                  options, config files, environment switches
    │   ├── CheckpointError              run directories and checkpoints
    │   └── LedgerError                  quarantine ledgers
    ├── NonFiniteError (ValueError)  3   a tensor holds NaN or Inf, or a health rule stopped the run
    ├── OutOfMemoryError             1   memory does not suffice for a step on one sample
    ├── WorkerError                  1   a process of --num-workers cannot be started or was lost
    └── Interrupted                  4   stopped by a signal; a checkpoint was written if there was something to save

A message says what was wrong, where, what was found, what was expected and what to do, in one line.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from aam.text import one_line, python_words, quote

Given = ParamSpec("Given")
Result = TypeVar("Result")

FAILED, REFUSED = 1, 2
"""Exit codes beside those of `AamError`: what the machine refused or nobody foresaw, and input that was refused."""
ROOM = "make room, or write elsewhere"
ALLOWED = "check its permissions, or use another path"
BROKEN = "the drive or its network has failed; try again later, or use another one"
OTHER_PATH = "give another path"
REMEDIES = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EFBIG: "raise the limit of the size of files (ulimit -f), or write elsewhere",
    errno.EIO: BROKEN,
    errno.ESTALE: BROKEN,
    errno.ENXIO: BROKEN,
    errno.EREMOTEIO: BROKEN,
    errno.EHOSTDOWN: BROKEN,
    errno.ETIMEDOUT: BROKEN,
    errno.EROFS: "write elsewhere",
    errno.EACCES: ALLOWED,
    errno.EPERM: ALLOWED,
    errno.EMFILE: "raise the limit of open files (ulimit -n 4096), or use fewer --num-workers",
    errno.ENFILE: "the machine has too many open files; end other programs, or try again later",
    errno.EAGAIN: "raise the limit of processes and threads (ulimit -u), or set OMP_NUM_THREADS=1",
    errno.ENAMETOOLONG: OTHER_PATH,
    errno.ENOTDIR: OTHER_PATH,
    errno.EISDIR: OTHER_PATH,
    errno.ELOOP: OTHER_PATH,
    errno.ENOENT: "it, or its folder, is not there or was removed meanwhile; restore it and run the command again",
    errno.EEXIST: "it was made meanwhile; remove it, or give another path",
}
"""What to do where the machine refuses to read or write, by the number of its error."""
WRONG_PATHS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""What it refuses of a path: names that are too long, folders that are files and files that are folders."""
NO_ROOM = ("free space to write", " requested and ")
"""Texts of numpy on a full disk, which has no number."""
NO_MEMORY = (
    "allocate memory",
    "out of memory",
    "alloc_failed",
    "bad_alloc",
    "unable to allocate",
    "could not create a primitive",
    "failed to map segment",
)
"""Lower-case texts of torch, CUDA, numpy, HDF5 and the loader of libraries where memory is short."""
ASKED = re.compile(r"(?:tried|unable) to allocate ([\d.]+ ?(?:bytes|[KMGTP]iB))", re.IGNORECASE)
"""How much torch has asked for."""


class AamError(Exception):
    """Base of all errors of this package; `exit_code` is what the command line returns."""

    exit_code = 2


class InputError(AamError, ValueError):
    """Refused input or options."""


class TableError(InputError):
    """A feature table cannot be used."""


class EmptySampleError(TableError):
    """A sample has no ASV with a positive count, so attention would have no key."""

    def __init__(self, sample_id: str, num_asvs: int, counts_sum: float):
        super().__init__(
            f"Sample {sample_id} has no ASVs with count > 0 (num_asvs={num_asvs}, counts_sum={counts_sum:g})"
        )


class SequenceError(InputError):
    """ASV sequences are missing or are not DNA."""


class TreeError(InputError):
    """A phylogeny cannot be used."""


class MatrixError(InputError):
    """A precomputed distance matrix cannot be used."""


class MetadataError(InputError):
    """Sample metadata cannot be used."""


class CorpusError(InputError):
    """A prepared corpus is incomplete, damaged or not there."""


class TaxonomyError(InputError):
    """A file of lineages cannot be used."""


class ReferenceFolderError(InputError):
    """A folder that `aam reference` wrote cannot be used."""


class ConfigError(InputError):
    """An option, a config file or an environment switch is wrong."""


class CheckpointError(InputError):
    """A run directory or a checkpoint cannot be read or must not be overwritten."""


class LedgerError(InputError):
    """A quarantine ledger cannot be read, or an entry does not add up."""


class NonFiniteError(AamError, ValueError):
    """A tensor holds NaN or Inf where only finite values make sense."""

    exit_code = 3


class WorkerError(AamError):
    """A process that assembles batches cannot be started, was killed or stands still."""

    exit_code = FAILED


class OutOfMemoryError(AamError):
    """Memory does not suffice for a training step, not even on a single sample."""

    exit_code = FAILED


class Interrupted(AamError):
    """The run was stopped by a signal; a checkpoint was written first if there was something to save."""

    exit_code = 4


def error_text(error: Exception) -> str:
    """The kind of an error and its text, in one line."""
    return f"{type(error).__name__}: {one_line(error)}"


def errno_of(error: BaseException) -> int | None:
    """Number of the error of the machine behind an error of any library; None if there is none.

    Libraries without an `OSError` of their own have the text of the system in theirs: safetensors, h5py, torch.
    """
    if isinstance(error, AamError):
        return None
    if isinstance(error, OSError) and error.errno:
        return error.errno
    text = str(error)
    if any(words in text for words in NO_ROOM):
        return errno.ENOSPC
    found = next((number for number in REMEDIES if os.strerror(number) in text), None)
    return errno_of(error.__cause__) if found is None and error.__cause__ is not None else found


def lacks_memory(error: BaseException) -> bool:
    """Whether an error of any library means that memory, of the machine or of a GPU, is short."""
    if isinstance(error, AamError):
        return False
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY)


def with_file(error: Exception, path: Path, partial: Path | None = None) -> Exception:
    """An error of the machine at a file, of whatever library, as an `OSError` that names it; other errors as they are.

    `partial` is the temporary file that is written in place of `path`.
    """
    if (number := errno_of(error)) is None or lacks_memory(error):
        return error
    if isinstance(error, OSError):
        if error.filename is None or str(error.filename) == str(partial):
            error.filename = str(path)
        return error if error.errno else OSError(number, os.strerror(number), error.filename)
    return OSError(number, os.strerror(number), str(path))


def machine_error(error: Exception, path: Path) -> OSError | None:
    """The error of the machine behind a failed read of `path`, for which its content is not to blame; None if none."""
    number = errno_of(error)
    if number is None or number in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
        return None
    return OSError(number, os.strerror(number), str(path))


def expected_error(error: Exception) -> tuple[str, int] | None:
    """Text and exit code of an error that the user or the machine caused, None for any other error."""
    text = one_line(error)
    if isinstance(error, AamError):
        return text, error.exit_code
    if lacks_memory(error):
        return memory_text(text), FAILED
    if (number := errno_of(error)) is not None and (number in REMEDIES or named_file(error)):
        return machine_text(number, named_file(error)), REFUSED if number in WRONG_PATHS else FAILED
    if isinstance(error, ConnectionError):
        return f"a process of this run has ended and left a broken pipe ({text}); go on with --resume", FAILED
    if "can't start new thread" in text:
        return f"{text}; {REMEDIES[errno.EAGAIN]}", FAILED
    if isinstance(error, ImportError) and not (error.name or "").startswith("aam"):
        return f"a package cannot be imported ({text}); repair the installation, e.g. by pip install -U aam", FAILED
    return None


def named_file(error: BaseException) -> str:
    """The file that an error of the system names; empty if there is none."""
    name = getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else ""


def machine_text(number: int, file: str) -> str:
    """An error of the machine in words: what, at which file, and what to do."""
    where = f": {quote(Path(file).name)}" if number == errno.ENAMETOOLONG else f": {one_line(file)}" if file else ""
    return f"{os.strerror(number)}{where}; {REMEDIES.get(number, 'try again, or use another path')}"


def memory_text(text: str) -> str:
    """A failed allocation in words, with how much was asked for where `text` says so."""
    asked = f" ({found[1]} more were asked for)" if (found := ASKED.search(text)) else ""
    if "CUDA" in text or "CUBLAS" in text or "CUDNN" in text:
        return (
            f"not enough memory on the GPU{asked}; use a smaller --batch-size (with --accumulate), --precision bf16, "
            "or a GPU with more"
        )
    return f"not enough memory{asked}; use a smaller --batch-size, --token-limit or table, or a machine with more"


def speaks_python(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The function, whose errors name options as its arguments are called."""

    @wraps(function)
    def called(*args: Given.args, **options: Given.kwargs) -> Result:
        try:
            return function(*args, **options)
        except AamError as error:
            error.args = (python_words(str(error)), *error.args[1:])
            raise

    return called
