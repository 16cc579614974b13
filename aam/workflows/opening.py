"""A trained model and the samples it is applied to: opened, checked against each other, encoded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aam.checkpoint import config_of_encoder, find_members, open_model
from aam.config import (
    DataConfig,
    FinetuneConfig,
    FinetuneRunConfig,
    ModelConfig,
    OptimConfig,
    RunnableConfig,
    RunnableT,
    is_clades,
    option_fields,
    option_flag,
)
from aam.config.apply import ApplyConfig, Inputs
from aam.config.fields import AUTO_BASES
from aam.corpus.dataset import Draw
from aam.corpus.samples import TableSamples, open_samples
from aam.corpus.split import Fold
from aam.encoders import shipped_name
from aam.errors import CheckpointError, ConfigError
from aam.gene.layout import Window
from aam.inference.asvs import encode_asvs, open_cache
from aam.inference.embed import Encoding
from aam.models.devices import resolve_device
from aam.models.pretrain_model import PretrainModel
from aam.observer import Observer
from aam.workflows.notes import say_last_checkpoint, warn_of_other_region, warn_of_unlike_reads
from aam.workflows.opened import say_limit, say_opened

DataT = TypeVar("DataT", bound=DataConfig)
NO_ENCODER = "but there is none; give --pretrained RUN, or shipped"
"""How refusals end of options that need a pretrained encoder."""
FROZEN_EPOCHS, FROZEN_STEPS = 10, 300
"""Epochs of a training on a frozen encoder; more where these are fewer steps."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """The encoder of a pretrained or fine-tuned model, its configuration, and the samples it is applied to."""

    model: PretrainModel
    config: RunnableConfig
    samples: TableSamples

    def encode(self, apply: ApplyConfig, observer: Observer) -> Encoding:
        """Encode the ASVs of the samples; embeddings in the cache are read from it."""
        samples, model = self.samples, self.model
        cache = open_cache(apply.cache, model.asv_encoder, self.config.model.dim, apply.precision)
        with cache as store, observer.progress("ASVs") as progress:
            asvs = encode_asvs(model, samples.tokens, samples.columns, store, progress, apply.precision)
        return Encoding(model, samples.drawn(), asvs, self.limit(apply), apply.precision)

    def limit(self, apply: ApplyConfig) -> int:
        """ASVs of a sample that the sample encoder reads."""
        return apply.token_limit or self.config.data.token_limit

    def say_limit(self, apply: ApplyConfig, observer: Observer) -> None:
        """Say what the sample encoder does not read of the samples."""
        say_limit(self.samples.drawn(Draw(None, self.limit(apply), "abundance", 0)), observer)


def open_inputs(inputs: Inputs, observer: Observer, with_tree: bool = False, for_unifrac: bool = False) -> Opened:
    """Open the model (of several folds the first) and the table; notes say what was left out or cut.

    Raises `CheckpointError` for a fine-tuned model if UniFrac is needed (`for_unifrac`).
    """
    with observer.stage("opening the model and reading the data"):
        device = resolve_device(inputs.run.device)
        found = open_model(find_members(inputs.model)[0])
        say_last_checkpoint(inputs.model, observer)
        if for_unifrac:
            refuse_finetuned(inputs.model, found.config)
        limit = found.config.model.max_bp
        data = for_model(inputs.data, found.config.data, inputs.model)
        samples = open_samples(data, depth_for(inputs, found.config), inputs.run.seed, limit, with_tree)
    say_opened(samples, observer, limit)
    warn_of_other_region(found.encoder.asv_encoder, samples.table.sequences, observer)
    warn_of_unlike_reads(found.config, samples, observer)
    return Opened(found.encoder.to(device), found.config, samples)


def depth_for(inputs: Inputs, trained: RunnableConfig) -> str:
    """The setting of --rarefy-depth: for auto the depth of training, which no other sample of the table changes.

    That of an older run is not recorded in its configuration; then auto is that of the table, and said.
    """
    asked = inputs.apply.rarefy_depth
    return trained.data.rarefy_depth if asked == "auto" else asked


def for_model(data: DataT, trained: DataConfig, model: Path) -> DataT:
    """The options of a table that a model is applied to: its reads are lined up with those of training.

    A model whose positions are columns of the gene takes reads of any region, so its reads are only cut, and only if
    those of training all had one window.
    A model whose reads are unknown, or are no 16S, gets them as they are. Raises ConfigError for --trim auto then.
    """
    if not trained.reads and data.trim == "auto":
        raise ConfigError(
            f"--trim auto, but {model} does not record reads of 16S (an older version, or another gene); give "
            "--trim START:LENGTH"
        )
    if trained.positions == "gene":  # every region and strand fits
        windows = {(record.start, record.length) for record in trained.reads}
        if data.trim == "auto" and len(windows) == 1:
            data = dataclasses.replace(data, trim=str(Window(*windows.pop())))
        return dataclasses.replace(data, positions="gene")
    return dataclasses.replace(data, reads=trained.reads, orient=data.orient if trained.reads else "none")


def with_findings(config: RunnableT, samples: TableSamples) -> RunnableT:
    """The configuration with what the data tell: their reads, and what is auto: depth, window of --trim, bases."""
    lineup, model, bases = samples.lineup, config.model, config.data.max_bp
    if bases == AUTO_BASES:
        bases = samples.bases
        model = dataclasses.replace(model, max_bp=bases if model.positions == "read" else model.max_bp)
    trim = config.data.trim if lineup.window is None else str(lineup.window)
    depth = "none" if samples.depth is None else str(samples.depth)
    data = dataclasses.replace(config.data, reads=lineup.records, trim=trim, max_bp=bases, rarefy_depth=depth)
    return dataclasses.replace(config, data=data, model=model)


def with_frozen_length(
    config: FinetuneConfig, asked: Mapping[str, Any], folds: Sequence[Fold], observer: Observer
) -> FinetuneConfig:
    """The default of --epochs for a frozen encoder, where neither epochs nor steps are `asked` for; says it.

    What a frozen encoder has to tell is learned in `FROZEN_STEPS`; the figures are in the experiment log.
    """
    given = any(asked.get(name) is not None for name in ("epochs", "max_steps"))
    if not config.head.freeze or config.run.resume or given or is_clades(config):
        return config
    epochs = frozen_epochs(min(len(fold.train) for fold in folds), config.optim)
    observer.say(
        f"trains for {epochs} epochs, which is enough for a head on a frozen encoder; --epochs N trains longer"
    )
    return dataclasses.replace(config, run=dataclasses.replace(config.run, epochs=epochs))


def frozen_epochs(samples: int, optim: OptimConfig) -> int:
    """The default of --epochs for a frozen encoder and so many training samples."""
    steps = samples // (optim.batch_size * optim.accumulate)
    longest = FinetuneRunConfig.epochs or FROZEN_EPOCHS
    return min(longest, max(FROZEN_EPOCHS, math.ceil(FROZEN_STEPS / max(1, steps))))


def refuse_finetuned(model: Path, config: RunnableConfig) -> None:
    """Raise `CheckpointError` for a model of `aam train`: its latent tree no longer fits its ASV embeddings."""
    if isinstance(config, FinetuneConfig):
        start = config.head.pretrained and (shipped_name(config.head.pretrained) or config.head.pretrained)
        raise CheckpointError(
            f"{model}: a model of `aam train`, which has learned {' and '.join(config.target.target)} and no "
            f"longer UniFrac; give {'a run of `aam pretrain`' if start is None else f'the run it began with, {start}'}"
        )


def with_encoder_size(config: RunnableT, pretrained: Path, asked: dict[str, Any], observer: Observer) -> RunnableT:
    """The configuration of a run that starts from a pretrained encoder, with the size of that encoder.

    `asked` are the given options by name; raises ConfigError if one contradicts the encoder.
    """
    fixed = (*option_fields(ModelConfig), "preset", "positions")
    free = {"dropout"} if not asked.get("restart_samples") else {"dropout", "sample_layers", "mean_features"}
    own = [name for name in fixed if name in asked and name not in free]
    if own:
        raise ConfigError(f"{option_flag(own[0])} is fixed by the encoder of --pretrained {pretrained}; leave it out")
    say_last_checkpoint(pretrained, observer)
    began = config_of_encoder(pretrained)
    model, data = began.model, for_model(config.data, began.data, pretrained)
    model = dataclasses.replace(model, **{name: getattr(config.model, name) for name in free if name in asked})
    max_bp = config.data.max_bp if "max_bp" in asked else model.max_bp
    if max_bp == AUTO_BASES:
        max_bp = model.max_bp
    if max_bp > model.max_bp:
        raise ConfigError(f"--max-bp is {max_bp}, but the encoder of --pretrained reads at most {model.max_bp} bases")
    return dataclasses.replace(config, model=model, data=dataclasses.replace(data, max_bp=max_bp))
