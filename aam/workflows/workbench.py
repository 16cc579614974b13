"""Data, batches and model as `aam pretrain` would have them, for inspection without a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from aam.checkpoint import Pretrained, open_as
from aam.config import PretrainConfig, from_options, with_options
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Batch
from aam.corpus.pretraining import Corpus, open_corpus
from aam.models.devices import resolve_device
from aam.observer import Observer
from aam.training.optim import MODEST_SCALE, loss_scaler
from aam.training.places import RowNames
from aam.training.run import PretrainLearner, build_learner, training_batches
from aam.workflows.opening import with_findings

OWN_DATA = {
    "example": False,
    **dict.fromkeys(
        ("corpus", "tree", "sequences", "unifrac_matrix", "metadata", "group_column", "validation_samples")
    ),
}
"""Options that describe the data of a run beside its table: dropped where another table is given."""


@dataclass(frozen=True)
class Workbench:
    """Configuration, data, batches by number and learner for inspection."""

    config: PretrainConfig
    corpus: Corpus
    batches: TrainingBatches
    learner: PretrainLearner

    def names(self, batches: Sequence[Batch]) -> RowNames:
        """Labels for rows of tensors in a pass of these batches."""
        return RowNames(batches, self.corpus.table.asv_ids, self.learner.model)

    def varied(self, token_limit: int, accumulate: int) -> Workbench:
        """The same with a fresh copy of the model, another token limit and another number of batches a step."""
        config = dataclasses.replace(
            self.config,
            data=dataclasses.replace(self.config.data, token_limit=token_limit),
            optim=dataclasses.replace(self.config.optim, accumulate=accumulate),
        )
        return build_workbench(config, self.corpus, self.learner.model.state_dict())


@dataclass(frozen=True)
class Inspection:
    """One row of a table of inspections: stage, inspected item, finding, and fault if any."""

    step: str
    what: str
    found: str
    fault: str = ""


def open_workbench(run: Path | None, options: dict[str, Any], observer: Observer) -> Workbench:
    """Open data, batches and model of `aam pretrain` with these options, or of a trained run with other options.

    A run is inspected on its own data unless `options` name a table. Raises `InputError` for options or data that do
    not fit together.
    """
    with observer.stage("opening data and model"):
        if run is None:
            config, weights = from_options(PretrainConfig, options), None
        else:
            model, stored = open_as(Pretrained, run)
            others = OWN_DATA if "table" in options else {}
            config, weights = with_options(stored, others | options | {"compile": False}), model.state_dict()
        corpus = open_corpus(config)
        return build_workbench(with_findings(config, corpus), corpus, weights)


def build_workbench(config: PretrainConfig, corpus: Corpus, weights: dict[str, Any] | None = None) -> Workbench:
    """Batches and model of a configuration, with these weights or untrained."""
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, resolve_device(config.run.device), weights)
    learner.scaler = loss_scaler(config.optim, learner.device, MODEST_SCALE)
    return Workbench(config, corpus, batches, learner)


def flat_indices(flags: Tensor) -> list[int]:
    """Flat indices of the True values."""
    return flags.flatten().nonzero().flatten().tolist()


def name_first(faults: Iterable[str]) -> str:
    """Name the first item and the number of others; empty text if there are none."""
    faults = list(faults)
    return "" if not faults else faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
