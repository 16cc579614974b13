"""The functions for notebooks: one for each command that trains a model or applies one.

A function takes the options of its command, with underscores for hyphens (`max_minutes=3` is `--max-minutes 3`), and
calls the same workflow. Results are pandas and scikit-bio objects. Messages go to the logger `aam` and warnings to
`warnings`, and name options as they are called here; with `verbose=True` both go to stderr, as in the command. Unusable
input raises `aam.errors.InputError`, a numerical fault `aam.errors.NonFiniteError`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam.config import (
    DataConfig,
    FinetuneConfig,
    PredictConfig,
    PretrainConfig,
    RunConfig,
    from_some,
    option_flag,
    path_of,
    suggest,
    with_absolute_paths,
)
from aam.config.apply import EmbedConfig, ExplainConfig, Inputs, PlaceConfig
from aam.config.fields import SHIPPED
from aam.errors import ConfigError, speaks_python
from aam.observer import Observer

if TYPE_CHECKING:
    import pandas as pd
    from skbio import DistanceMatrix

    from aam.checkpoint import AnyModel
    from aam.report.model_card import CardFacts
    from aam.workflows.asv_sources import AsvSource
    from aam.workflows.baseline import BaselineResult
    from aam.workflows.place import Placement
    from aam.workflows.run import Run

PathLike = str | os.PathLike[str]


@speaks_python
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

    given = given_options("pretrain", {"table": table, "tree": tree, "output_dir": output_dir, **options})
    run = pretrain(with_absolute_paths(PretrainConfig, given), observer_of(verbose))
    if run is None:
        raise ConfigError("only the first process of torchrun has a result; use `aam pretrain` on several processes")
    return run


@speaks_python
def train(
    table: PathLike | Sequence[PathLike] | None = None,
    metadata: PathLike | Sequence[PathLike] | None = None,
    target: str | Sequence[str] = (),
    output_dir: PathLike = RunConfig.output_dir,
    *,
    verbose: bool = False,
    **options: Any,
) -> Run:
    """Train a model that predicts a metadata column, as `aam train`; several studies as lists of tables and metadata.

    `pretrained` is the encoder to start from, "shipped" for the one that comes with aam; `folds=5` cross-validates.
    """
    from aam.workflows.train import train

    own = {"table": table, "metadata": metadata, "target": target, "output_dir": output_dir}
    return train(with_absolute_paths(FinetuneConfig, given_options("train", own | options)), observer_of(verbose))


@speaks_python
def embed(
    table: PathLike | None = None,
    *,
    model: PathLike | None = None,
    what: str = "samples",
    verbose: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Embeddings of the samples, ASVs or branches of a table, as `aam embed`: rows by id, a column per dimension.

    `model` is a run directory, a checkpoint, a name that `aam.list_models()` lists, or an id of the hub of Hugging
    Face; without it, the encoder that comes with aam is used.
    """
    from aam.workflows.embed import embed

    given = given_options("embed", {"table": table, "what": what, **options})
    return embed(Inputs.of(model_of(model), given), from_some(EmbedConfig, given), observer_of(verbose)).table


@speaks_python
def distance(
    table: PathLike | None = None, *, model: PathLike | None = None, verbose: bool = False, **options: Any
) -> DistanceMatrix | pd.Series:
    """UniFrac of all pairs of samples from their sequences, without a tree, as `aam distance`.

    Without a model, the ASVs are placed on the tree of a reference; `metric="faith_pd"` gives one number per sample.
    """
    from aam.workflows.any_distance import any_distance

    given = given_options("distance", {"table": table, **options})
    found = any_distance(model_of(model), given, False, observer_of(verbose))
    return found.faith_pd if found.unifrac is None else found.unifrac


@speaks_python
def place(
    table: AsvSource | None = None,
    *,
    sequences: Mapping[str, str] | PathLike | None = None,
    model: PathLike | None = None,
    verbose: bool = False,
    **options: Any,
) -> Placement:
    """Place ASVs on the tree of a reference, as `aam place`; the result has `tree`, `taxonomy` and `placements`.

    `table` is the file of one, a DataFrame with an ASV per column, a `biom.Table`, a FASTA file, or a list of
    sequences; `sequences` has the DNA of a table whose ids are not DNA: a file, or a mapping from its ids. Without
    `reference`, or a `model` that has one, the reference that comes with aam is used.
    """
    from aam.workflows.asv_sources import asvs_of, read_inputs
    from aam.workflows.model_names import placing_of
    from aam.workflows.place import place

    given, observer = given_options("place", options), observer_of(verbose)
    data = from_some(DataConfig, {"example": given.get("example", False)})
    asvs = read_inputs(data, observer) if data.example else asvs_of(table, sequences, observer)
    return place(asvs, from_some(PlaceConfig, given), placing_of(model_of(model), given, observer), observer)


@speaks_python
def explain(
    table: PathLike | None = None, *, model: PathLike | None = None, verbose: bool = False, **options: Any
) -> pd.DataFrame:
    """The ASVs that drive embeddings or predictions, the leading one first, as `aam explain`."""
    from aam.workflows.explain import explain

    given = given_options("explain", {"table": table, **options})
    return explain(Inputs.of(model_of(model), given), from_some(ExplainConfig, given), observer_of(verbose)).table


@speaks_python
def predict(table: PathLike | None = None, *, model: PathLike, verbose: bool = False, **options: Any) -> pd.DataFrame:
    """Predictions of a model of `aam train` for the samples of a table, by sample id, as `aam predict`.

    A warning names the samples that cannot be predicted, which are not among the rows.
    """
    from aam.workflows.predict import predict

    given = given_options("predict", {"table": table, **options})
    data, config, run = from_some(DataConfig, given), from_some(PredictConfig, given), from_some(RunConfig, given)
    observer = observer_of(verbose)
    found = predict(path_of("model", model), data, config, run, observer)
    if len(found.refused):
        observer.warn(found.refusal)
    return found.table


@speaks_python
def baseline(
    model: PathLike | None = None, *, against: PathLike | Sequence[PathLike] = (), verbose: bool = False, **options: Any
) -> BaselineResult:
    """Predict a metadata column with standard methods, as `aam baseline`.

    With `model`, a run of `aam train`, use its data and folds, and compare every method with it.
    """
    from aam.workflows.baseline import baseline, resolve_runs

    given = given_options("baseline", options)
    others = [against] if isinstance(against, str | os.PathLike) else against
    run = None if model is None else path_of("model", model)
    config, runs = resolve_runs(run, [path_of("against", other) for other in others], given)
    return baseline(config, runs, observer_of(verbose))


@speaks_python
def open_model(model: PathLike = SHIPPED) -> AnyModel:
    """A trained model, in evaluation mode, with its configuration; by default the encoder that comes with aam.

    `model` is as in `embed`. A `PretrainModel` for a run of `aam pretrain`, a `FinetuneModel` for one of `aam train`; a
    cross-validated run has one model in each of its folders `fold-…`.
    """
    from aam import checkpoint
    from aam.workflows.model_names import find_model

    return checkpoint.open_model(find_model(path_of("model", model), Observer()))


from_pretrained = open_model
"""The name by which other packages open models that were saved or shared."""


@speaks_python
def save_pretrained(
    model: PathLike, folder: PathLike, *, facts: CardFacts | None = None, bf16: bool = False, verbose: bool = False
) -> Path:
    """Save the model of a run with its card as a folder to pass on, without the run, and return the folder.

    `facts` (`aam.CardFacts`) are what the card says beside what the run knows, e.g. the licence. With `bf16` the
    matrices take half the space.
    """
    from aam.report.model_card import NO_FACTS
    from aam.workflows.model_names import find_model
    from aam.workflows.save_pretrained import save_pretrained

    found = find_model(path_of("model", model), observer_of(verbose))
    return save_pretrained(found, path_of("folder", folder), facts or NO_FACTS, bf16)


@speaks_python
def push_to_hub(
    model: PathLike, hub_id: str, *, facts: CardFacts | None = None, private: bool = False, verbose: bool = False
) -> str:
    """Upload a model to a hub as `OWNER/NAME`, with its card as the page there, and return its address.

    Needs huggingface_hub (`pip install 'aam[hub]'`) and a token (`hf auth login`). `facts` are as in `save_pretrained`.
    """
    from aam.report.model_card import NO_FACTS
    from aam.workflows.hub import push_to_hub
    from aam.workflows.model_names import find_model

    observer = observer_of(verbose)
    found = find_model(path_of("model", model), observer)
    return push_to_hub(found, hub_id, facts or NO_FACTS, private, observer)


def list_models() -> pd.DataFrame:
    """The models that can be asked for by name, and the runs in the current folder, as `aam models`; rows by name."""
    from aam.workflows.models import list_models, models_table

    return models_table(list_models(Observer()))


ONLY_OF_COMMANDS = {
    "dry_run": "only the command prints a plan",
    "output": "the result is returned; write that",
    "write_tree": "aam.place returns the tree",
    "config_file": "give the options of the file as **options",
}
"""Click parameters that are no options of a function, and what to do instead."""


def given_options(command: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, with `~` expanded in paths; raises ConfigError for one that the command has not."""
    import click

    options = {option.name: option for option in importlib.import_module(f"aam.cli.{command}").command.params}
    known = [str(name) for name in options if name not in {*ONLY_OF_COMMANDS, "model", "model_path"}]
    for name in given:
        if name not in known:
            remedy = ONLY_OF_COMMANDS.get(name)
            advice = f"; {remedy}" if remedy else suggest(name, known) or f"; `aam {command} --help` lists them"
            raise ConfigError(f"aam.{command}: unknown option {name!r}{advice}")
    found = {name: value for name, value in given.items() if value is not None and not is_empty(value)}
    paths = [name for name in found if isinstance(options[name].type, click.Path)]
    several = {name for name in paths if options[name].multiple and isinstance(found[name], list | tuple)}

    def checked(name: str, value: Any) -> Path:
        return options[name].type.rule(option_flag(name), path_of(name, value))

    return found | {
        name: [checked(name, each) for each in found[name]] if name in several else checked(name, found[name])
        for name in paths
    }


def is_empty(value: Any) -> bool:
    """Whether a value is a list or tuple of nothing, which stands for an option that was not given."""
    return isinstance(value, list | tuple) and not value


def model_of(given: PathLike | None) -> Path | None:
    """The model that was asked for as a path, which may be a name."""
    return None if given is None else path_of("model", given)


def observer_of(verbose: bool) -> Observer:
    """The observer of the command line, or one that uses `warnings` and `logging`."""
    if not verbose:
        return Observer()
    from aam.cli.terminal import TERMINAL

    return TERMINAL
