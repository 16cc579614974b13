"""Before a head learns: the encoder goes on with pretraining on the training samples of a fold, without their labels.

What an encoder has learned of other studies is least worth where ASVs and sequencing differ most. The samples that a
fold trains on may be read as long as those it is tested on are not (after Gururangan et al. 2020, who call it
task-adaptive pretraining).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aam.checkpoint import config_of_encoder
from aam.config import FinetuneConfig, OptimConfig, PretrainConfig, RunConfig
from aam.corpus.pretraining import Corpus, match_targets
from aam.corpus.samples import resolve_inputs
from aam.corpus.study import Study
from aam.inference.predictions import embed_asvs
from aam.observer import Observer
from aam.phylogeny.unifrac import Measure
from aam.training.finetune import Start
from aam.training.loop import train
from aam.training.manifest import has_checkpoint
from aam.training.run import build_run
from aam.training.state import StopRequest

ADAPTED = "adapted"
"""Folder of the adapted encoder in that of a fold."""


def adapt(
    config: FinetuneConfig, study: Study, rows: NDArray[np.int64], start: Start, stop: StopRequest, observer: Observer
) -> Start:
    """What the model of a fold begins with: `start`, or, with --adapt-steps, what the encoder becomes on these rows.

    `config` is that of the fold, whose folder keeps the encoder as a run like that of `aam pretrain`.
    """
    if config.head.adapt_steps == 0:
        return start
    observer.say(f"{config.run.output_dir}: the encoder adapts to {len(rows)} samples, without labels")
    pretraining = pretrain_config(config)
    corpus = unlabelled(config, study, rows)
    run = build_run(pretraining, corpus, lambda learner: {}, selects=False, weights=start.weights)
    state = run.start_or_restore()
    run.sinks = [*observer.training_display()]
    try:
        train(run, state, stop)
    finally:
        for sink in run.sinks:
            sink.close()
    model = run.learner.model.eval()
    if start.embedded is None:
        return Start(model.state_dict(), None)
    with observer.stage(f"embedding {len(study.tokens)} ASVs"):
        return Start(model.state_dict(), embed_asvs(model, study.tokens))


def pretrain_config(config: FinetuneConfig) -> PretrainConfig:
    """The pretraining that goes on: objective of the run it goes on from, data and arithmetic of the fine-tuning."""
    assert config.head.pretrained is not None  # --adapt-steps is refused without it
    began = config_of_encoder(config.head.pretrained)
    optim = replace(OptimConfig(), batch_size=config.optim.batch_size, precision=config.optim.precision)
    folder = config.run.output_dir / ADAPTED
    run = RunConfig(
        output_dir=folder,
        max_steps=config.head.adapt_steps,
        seed=config.run.seed,
        device=config.run.device,
        num_workers=config.run.num_workers,
        resume=has_checkpoint(folder),
    )
    own = PretrainConfig(data=config.data, model=config.model, optim=optim, run=run, health=config.health)
    return replace(own, loss=began.loss) if isinstance(began, PretrainConfig) else own


def unlabelled(config: FinetuneConfig, study: Study, rows: NDArray[np.int64]) -> Corpus:
    """Samples of a study as a corpus with the tree of --tree, all of them to train on."""
    data, files = resolve_inputs(config.data)
    measure = Measure(config.model.unifrac_metric, config.model.unifrac_alpha)
    table = replace(study.table.select(samples=rows).carried(), dropped={})  # the ledger of the fold has those
    return replace(match_targets(table, data, files, measure), depth=study.depth)
