"""Predictions of an ensemble on clades for the samples of any table, and how far the table lies from training."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.corpus.samples import TableSamples
from aam.learners.ensemble import FEWEST_TO_CENTRE
from aam.learners.transfer import read_studies
from aam.observer import Observer
from aam.text import counted
from aam.workflows.clade_inputs import place_samples
from aam.workflows.place import open_chosen
from aam.workflows.stored_clades import StoredClades
from aam.workflows.transfer_card import TransferCard, make_card, say_card


class CladePredictions(NamedTuple):
    """What each kind of member says [R, N, 1, K], in units of the target or as log-probabilities.

    `card` is None for a model that has not recorded its studies.
    """

    repeats: NDArray[np.float64]
    card: TransferCard | None


def predict_clades(
    stored: StoredClades, checkpoint: Path, samples: TableSamples, observer: Observer
) -> CladePredictions:
    """Predictions of samples by an ensemble in the folder `checkpoint`, and their transfer card.

    Raises an InputError without the reference of the training, and if no ASV has a place on it.
    """
    chosen = open_chosen(stored.config.learner, observer)
    stored.check_reference(chosen.folder)
    if stored.ensemble.studies and (count := len(samples.table.sample_ids)) < FEWEST_TO_CENTRE:
        observer.warn(
            f"{counted(count, 'samples')} of a new study, expected at least {FEWEST_TO_CENTRE} to know its level: "
            "ranks hold, probabilities and numbers may all be too high or too low"
        )
    placed, card = place_samples(samples, chosen, stored.config.learner.threads, observer), None
    if (training := read_studies(checkpoint)) is not None:
        card = make_card(training, checkpoint, samples, placed, stored.ensemble.features.of(placed.table))
        say_card(card, observer)
    return CladePredictions(stored(placed.table), card)
