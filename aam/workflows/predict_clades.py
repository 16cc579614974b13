"""Predictions of an ensemble on clades for the samples of any table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aam.corpus.samples import TableSamples
from aam.learners.ensemble import FEWEST_TO_CENTRE
from aam.observer import Observer
from aam.text import counted
from aam.workflows.clade_inputs import open_reference_of, place_samples
from aam.workflows.stored_clades import StoredClades


def predict_clades(stored: StoredClades, samples: TableSamples, observer: Observer) -> NDArray[np.float64]:
    """What each kind of member says [R, N, 1, K] of samples, in units of the target or as log-probabilities.

    Raises an InputError without the reference of the training, and if no ASV has a place on it.
    """
    chosen = open_reference_of(stored.config.learner, observer)
    stored.check_reference(chosen.folder)
    if stored.ensemble.studies and (count := len(samples.table.sample_ids)) < FEWEST_TO_CENTRE:
        observer.warn(
            f"{counted(count, 'samples')} of a new study, expected at least {FEWEST_TO_CENTRE} to know its level: "
            "ranks hold, probabilities and numbers may all be too high or too low"
        )
    return stored(place_samples(samples, chosen, stored.config.learner.threads, observer))
