"""What the commands that put a trained model to a table have in common: their options, and the way to its encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from aam.cli.options import PATH, Fields, add_options, fields_of
from aam.config import DataConfig, FinetuneConfig, RunConfig, RunnableConfig, part_of
from aam.config.apply import ApplyConfig
from aam.errors import ConfigError
from aam.io.files import refuse_unwritable

if TYPE_CHECKING:
    from aam.corpus.samples import TableSamples
    from aam.inference.asvs import EmbeddingStore
    from aam.inference.embed import Encoding
    from aam.models.pretrain_model import PretrainModel

INPUTS = ("table", "sequences", "example")
TREE_INPUTS = ("tree", "max_missing")
RUN = ("seed", "device")

F = TypeVar("F", bound=Callable[..., Any])

model_option = click.option(
    "--model",
    "model_path",
    required=True,
    type=PATH,
    metavar="RUN",
    help="Run directory of a trained model, or a checkpoint in it.",
)


def model_command(extra: Fields) -> Callable[[F], F]:
    """Decorate a command with --model, the options of every such command, and `extra` ones."""
    known = fields_of(DataConfig, INPUTS) | extra | fields_of(ApplyConfig) | fields_of(RunConfig, RUN)
    return lambda function: model_option(add_options(known)(function))


class Values(NamedTuple):
    """The options of one call that all such commands have, by the class they belong to."""

    data: DataConfig
    apply: ApplyConfig
    run: RunConfig


def common_values(asked: dict[str, Any]) -> Values:
    """Of the options that were given those that all such commands have; raises ConfigError for one out of bounds."""
    return Values(part_of(DataConfig, asked), part_of(ApplyConfig, asked), part_of(RunConfig, asked))


class Opened(NamedTuple):
    """The encoder of a pretrained or fine-tuned model, its configuration, and the samples it is put to."""

    model: PretrainModel
    config: RunnableConfig
    samples: TableSamples


def open_both(model_path: Path, values: Values, with_tree: bool = False, for_unifrac: bool = False) -> Opened:
    """Open model (of several folds the first) and table; says on stderr what was left out or cut.

    Raises `CheckpointError` for a fine-tuned model where UniFrac is asked of it.
    """
    from aam.cli.data_notes import tell_data, tell_misfit
    from aam.cli.terminal import status

    with status("opening the model and reading the data"):
        from aam.checkpoint import find_members, open_model
        from aam.corpus.samples import open_samples
        from aam.models.devices import resolve_device

        device, members = resolve_device(values.run.device), find_members(model_path)
        found = open_model(members[0])
        tell_last(model_path)
        if for_unifrac:
            refuse_finetuned(model_path, found.config)
        limit = found.config.model.max_bp
        samples = open_samples(values.data, values.apply.rarefy_depth, values.run.seed, limit, with_tree)
    tell_data(samples.table, samples.dropped)
    if samples.cut:
        click.echo(f"cut: {samples.cut:,} ASVs to the {limit} bases that this model reads", err=True)
    tell_misfit(found.encoder.asv_encoder, samples.table.sequences)
    return Opened(found.encoder.to(device), found.config, samples)


def tell_last(model_path: Path) -> None:
    """Say on stderr that a run is opened by its last checkpoint for want of the best one, where it is to have one."""
    from aam.checkpoint import LAST, config_of_encoder, find_members

    opened, config = find_members(model_path)[0], config_of_encoder(model_path)
    by_design = isinstance(config, FinetuneConfig) and config.fold.selection_fraction == 0
    if opened.name == LAST and opened != model_path and not by_design:
        click.echo(f"{model_path} has no best/, which comes with the first evaluation; opened {opened}", err=True)


def refuse_finetuned(model_path: Path, config: RunnableConfig) -> None:
    """Raise `CheckpointError` for a model of `aam train`: its ASV embeddings have left what the latent tree reads."""
    from aam.errors import CheckpointError

    if isinstance(config, FinetuneConfig):
        start = config.head.pretrained
        raise CheckpointError(
            f"{model_path}: a model of `aam train`, which has learned {' and '.join(config.target.target)} and no "
            f"longer UniFrac; give {'a run of `aam pretrain`' if start is None else f'the run it began with, {start}'}"
        )


def encoding_of(opened: Opened, job: ApplyConfig) -> Encoding:
    """The samples with their ASVs encoded, those that the cache holds taken from there."""
    from aam.cli.terminal import bar
    from aam.inference.asvs import encode_asvs
    from aam.inference.embed import Encoding

    samples = opened.samples
    with store_of(opened, job) as store, bar("ASVs") as progress:
        asvs = encode_asvs(opened.model, samples.tokens, samples.columns, store, progress, job.precision)
    return Encoding(opened.model, samples.drawn(), asvs, opened.config.data.token_limit, job.precision)


@contextmanager
def store_of(opened: Opened, job: ApplyConfig) -> Iterator[EmbeddingStore | None]:
    """The cache in a folder, or None."""
    if job.cache is None:
        yield None
        return
    from aam.inference.asvs import ASVCache

    refuse_unwritable(job.cache, "--cache", ConfigError)
    with ASVCache(job.cache, opened.model.asv_encoder, opened.config.model.dim, job.precision) as store:
        yield store
