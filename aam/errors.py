"""Every error that `aam` raises on purpose, so that a caller picks the level to catch.

    AamError                    exit code
    ├── InputError (ValueError)      2   a file or an option was refused; nothing was written
    │   ├── TableError                   feature table
    │   │   └── EmptySampleError         a sample without an ASV of positive count
    │   ├── SequenceError                ASV sequences
    │   ├── TreeError                    phylogeny
    │   ├── MatrixError                  precomputed distances
    │   ├── MetadataError                sample metadata
    │   ├── CorpusError                  folders that `aam prepare` wrote
    │   ├── ConfigError                  options, config files, environment switches
    │   ├── CheckpointError              run directories and checkpoints
    │   └── LedgerError                  quarantine ledgers
    ├── NonFiniteError (ValueError)  3   a tensor holds NaN or Inf, or a health rule stopped the run
    └── Interrupted                  4   stopped by a signal after a checkpoint was written

A message says what was wrong, where, what was found, what was expected and what to do, in one line.
"""

from __future__ import annotations


class AamError(Exception):
    """Base of all errors of this package; `exit_code` is what the command line returns."""

    exit_code = 2


class InputError(AamError, ValueError):
    """Refused input or options."""


class TableError(InputError):
    """A feature table cannot be used."""


class EmptySampleError(TableError):
    """A sample has no ASV with a positive count, so no row of attention could have a key."""

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


class ConfigError(InputError):
    """An option, a config file or an environment switch is wrong."""


class CheckpointError(InputError):
    """A run directory or a checkpoint cannot be read or must not be overwritten."""


class LedgerError(InputError):
    """A quarantine ledger cannot be read, or an entry does not add up."""


class NonFiniteError(AamError, ValueError):
    """A tensor holds NaN or Inf where only finite values make sense."""

    exit_code = 3


class Interrupted(AamError):
    """The run was stopped by a signal; a checkpoint was written first."""

    exit_code = 4
