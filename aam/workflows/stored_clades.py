"""An ensemble on clades in the folder of a run: written, found, opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from aam.checkpoint import Checkpoint, find_members, save_checkpoint
from aam.config import NUMERIC_TASKS, FinetuneConfig, is_clades
from aam.corpus.label_schema import unscale_values
from aam.errors import CheckpointError
from aam.folders import BEST
from aam.io.files import digest
from aam.learners.clades import CladeTable
from aam.learners.ensemble import Ensemble
from aam.learners.stored import from_tensors, to_tensors
from aam.placement.store import RECORD
from aam.stored import MODEL, Stored, read_stored

REFERENCE_DIGEST = "reference_sha256"
"""Key, in the state of a stored ensemble, of the record of the reference that its clades are of."""


@dataclass(frozen=True)
class StoredClades:
    """An ensemble, the configuration of its run, and the digest of the reference that its clades are of."""

    ensemble: Ensemble
    config: FinetuneConfig
    reference: str

    @property
    def models(self) -> int:
        """How many models these are."""
        return 1

    def save(self, seconds: float) -> None:
        """Write it as the checkpoint of its run, whose training took so many seconds."""
        state = {"step": 0, "seconds": seconds, REFERENCE_DIGEST: self.reference}
        folder = self.config.run.output_dir / BEST
        save_checkpoint(folder, Checkpoint(self.config, to_tensors(self.ensemble), {}, state))

    def check_reference(self, folder: Path) -> None:
        """Raise CheckpointError if the reference in a folder is not that of the clades."""
        if reference_digest(folder) != self.reference:
            raise CheckpointError(
                f"{folder}: not the reference whose clades the model has learned; give that one, or train again"
            )

    def __call__(self, table: CladeTable, study: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """What each kind of member says [R, N, 1, K], in units of the target or as log-probabilities.

        `study` [N] numbers the studies of the samples; None: they are of one.
        """
        members = self.ensemble.members(table, study)
        if self.config.target.task in NUMERIC_TASKS:
            return unscale_values(members, self.config.schema.numbers[0])[:, :, :, None]
        return log_softmax(members, axis=-1)[:, :, None, :]


def reference_digest(folder: Path) -> str:
    """SHA-256 of the record of a reference, which has those of its files."""
    return digest(folder / RECORD)


def find_clades(model: Path) -> Stored | None:
    """The stored ensemble of a run, or None if the run trained a network."""
    stored = read_stored(find_members(model)[0])
    return stored if is_clades(stored.config) else None


def open_clades(stored: Stored) -> StoredClades:
    """Read an ensemble; raises CheckpointError if it is damaged."""
    assert isinstance(stored.config, FinetuneConfig)
    reference = str(stored.state().get(REFERENCE_DIGEST))
    return StoredClades(from_tensors(stored.tensors(MODEL), str(stored.folder)), stored.config, reference)
