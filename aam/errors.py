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
from pathlib import Path

from aam.text import one_line, quote

FAILED, REFUSED = 1, 2
"""Exit codes beside those of `AamError`: an error nobody foresaw, and input that was refused."""
ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
"""What the machine may refuse: full disks, missing permissions, broken drives."""
WRONG_PATHS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""What it refuses of a path: names that are too long, folders that are files and files that are folders."""

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


def lacks_memory(error: BaseException) -> bool:
    """Whether an error of any library means that memory, of the machine or of a GPU, is short."""
    if isinstance(error, AamError):
        return False
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY)


def error_text(error: Exception) -> str:
    """The kind of an error and its text, in one line."""
    return f"{type(error).__name__}: {one_line(error)}"


def expected_error(error: Exception) -> tuple[str, int] | None:
    """Text and exit code of an error that the user or the machine caused, None for any other error."""
    text = one_line(error)
    if isinstance(error, AamError):
        return text, error.exit_code
    if (full := os.strerror(errno.ENOSPC)) in text:  # libraries have errors of their own for it
        where = f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return f"{full}{where}; make room, or write elsewhere", FAILED
    if isinstance(error, OSError) and error.errno in ENVIRONMENT:
        return f"{error.strerror}: {error.filename or 'unknown file'}", FAILED
    if isinstance(error, OSError) and error.errno in WRONG_PATHS:
        name = quote(Path(error.filename or "unknown file").name)
        return f"{error.strerror}: {name}; give another path", REFUSED
    if isinstance(error, MemoryError):
        return "not enough memory; use a smaller batch or table, or a machine with more", FAILED
    return None
