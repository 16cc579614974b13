"""The functions for notebooks: one for each command that trains a model or applies one.

A function takes the options of its command, with underscores for hyphens (`max_minutes=3` is `--max-minutes 3`), and
calls the same workflow. Results are pandas and scikit-bio objects. Messages go to the logger `aam` and warnings to
`warnings`; with `verbose=True` both go to stderr, as in the command. Unusable input raises
`aam.errors.InputError`, a numerical fault `aam.errors.NonFiniteError`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam.config import (
    DataConfig,
    FinetuneConfig,
    PredictConfig,
    PretrainConfig,
    RunConfig,
    check_names,
    from_options,
    from_some,
    with_absolute_paths,
)
from aam.config.apply import ApplyConfig, DistanceConfig, EmbedConfig, ExplainConfig, Inputs
from aam.errors import ConfigError
from aam.observer import Observer

if TYPE_CHECKING:
    import pandas as pd
    from skbio import DistanceMatrix

    from aam.workflows.baseline import BaselineResult
    from aam.workflows.run import Run

PathLike = str | os.PathLike[str]


def pretrain(
    table: PathLike | None = None,
    tree: PathLike | None = None,
    output_dir: PathLike = RunConfig.output_dir,
    *,
    verbose: bool = False,
    **options: Any,
) -> Run:
    """Pretrain an encoder on a feature table and a phylogeny, as `aam pretrain`; `example=True`: use the example."""
    from aam.workflows.pretrain import pretrain

    given = {"table": table, "tree": tree, "output_dir": output_dir, **options}
    run = pretrain(with_absolute_paths(PretrainConfig, without_none(given)), observer_of(verbose))
    if run is None:
        raise ConfigError("only the first process of torchrun has a result; use `aam pretrain` on several processes")
    return run


def train(
    table: PathLike | None = None,
    metadata: PathLike | None = None,
    target: str | Sequence[str] = (),
    output_dir: PathLike = RunConfig.output_dir,
    *,
    verbose: bool = False,
    **options: Any,
) -> Run:
    """Train a model that predicts a metadata column, as `aam train`.

    `pretrained` is the run to start from; `folds=5` cross-validates.
    """
    from aam.workflows.train import train

    given = {"table": table, "metadata": metadata, "target": target, "output_dir": output_dir, **options}
    return train(with_absolute_paths(FinetuneConfig, without_none(given)), observer_of(verbose))


def embed(
    table: PathLike | None = None, *, model: PathLike, what: str = "samples", verbose: bool = False, **options: Any
) -> pd.DataFrame:
    """Embeddings of the samples, ASVs or branches of a table, as `aam embed`: rows by id, a column per dimension."""
    from aam.workflows.embed import embed

    given = options_among({"table": table, "what": what, **options}, EmbedConfig, DataConfig, ApplyConfig, RunConfig)
    return embed(Inputs.of(Path(model), given), from_some(EmbedConfig, given), observer_of(verbose)).table


def distance(
    table: PathLike | None = None, *, model: PathLike, verbose: bool = False, **options: Any
) -> DistanceMatrix:
    """Predicted UniFrac of all pairs of samples from their sequences, without a tree, as `aam distance`."""
    from aam.workflows.distance import distance

    given = options_among({"table": table, **options}, DistanceConfig, DataConfig, ApplyConfig, RunConfig)
    return distance(Inputs.of(Path(model), given), from_some(DistanceConfig, given), observer_of(verbose)).unifrac


def explain(table: PathLike | None = None, *, model: PathLike, verbose: bool = False, **options: Any) -> pd.DataFrame:
    """The ASVs that drive embeddings or predictions, the leading one first, as `aam explain`."""
    from aam.workflows.explain import explain

    given = options_among({"table": table, **options}, ExplainConfig, DataConfig, ApplyConfig, RunConfig)
    return explain(Inputs.of(Path(model), given), from_some(ExplainConfig, given), observer_of(verbose)).table


def predict(table: PathLike | None = None, *, model: PathLike, verbose: bool = False, **options: Any) -> pd.DataFrame:
    """Predictions of a model of `aam train` for the samples of a table, by sample id, as `aam predict`."""
    from aam.workflows.predict import predict

    given = options_among({"table": table, **options}, PredictConfig, DataConfig, RunConfig)
    data, config, run = from_some(DataConfig, given), from_some(PredictConfig, given), from_some(RunConfig, given)
    return predict(Path(model), data, config, run, observer_of(verbose)).table


def baseline(
    model: PathLike | None = None, *, against: Sequence[PathLike] = (), verbose: bool = False, **options: Any
) -> BaselineResult:
    """Predict a metadata column with standard methods, as `aam baseline`.

    With `model`, a run of `aam train`, use its data and folds, and compare every method with it.
    """
    from aam.workflows.baseline import Runs, baseline, recorded_config

    given = without_none(options)
    run = None if model is None else Path(model)
    config = from_options(FinetuneConfig, given) if run is None else recorded_config(run, given)
    return baseline(config, Runs(run, tuple(map(Path, against))), observer_of(verbose))


def without_none(given: dict[str, Any]) -> dict[str, Any]:
    """The options without those that are None."""
    return {name: value for name, value in given.items() if value is not None}


def options_among(given: dict[str, Any], *classes: type) -> dict[str, Any]:
    """The options that are not None; raises ConfigError for a name that none of the config classes has."""
    check_names(given, *classes)
    return without_none(given)


def observer_of(verbose: bool) -> Observer:
    """The observer of the command line, or one that uses `warnings` and `logging`."""
    if not verbose:
        return Observer()
    from aam.cli.terminal import TERMINAL

    return TERMINAL
