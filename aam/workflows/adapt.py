"""Task-adaptive pretraining (Gururangan et al. 2020): continue pretraining on the training samples of a fold.

It helps if the study differs from the studies of pretraining. It uses no labels and no test samples, so the metrics of
the fold stay valid.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aam.checkpoint import config_of_encoder
from aam.config import FinetuneConfig, OptimConfig, PretrainConfig, RunConfig
from aam.corpus.pretraining import Corpus, match_targets
from aam.corpus.samples import read_any_tree
from aam.corpus.studies import resolve_studies
from aam.corpus.study import Study
from aam.inference.predictions import embed_asvs
from aam.observer import Observer
from aam.phylogeny.unifrac import Measure
from aam.stopping import StopRequest
from aam.training.finetune import Start
from aam.training.loop import train
from aam.training.manifest import ADAPTED, has_checkpoint
from aam.training.memory import keep_within_memory
from aam.training.run import build_run


def adapt(
    config: FinetuneConfig, study: Study, rows: NDArray[np.int64], start: Start, stop: StopRequest, observer: Observer
) -> Start:
    """The start of the model of a fold: `start` or, with --adapt-steps, the encoder pretrained further on these rows.

    `config` is that of the fold; the encoder is saved in its folder, like a run of `aam pretrain`.
    """
    if config.head.adapt_steps == 0:
        return start
    observer.say(f"{config.run.output_dir}: the encoder adapts to {len(rows)} samples, without labels")
    pretraining = pretrain_config(config)
    corpus = build_unlabelled_corpus(config, study, rows)
    run = build_run(pretraining, corpus, lambda learner: {}, selects=False, weights=start.weights)
    state = run.start_or_restore()
    keep_within_memory(run, observer)
    run.sinks = [*observer.training_display(run.budget.share(state))]
    try:
        train(run, state, stop)
    finally:
        for sink in run.sinks:
            sink.close()
    model = run.learner.model.eval()
    if start.embedded is None:
        return Start(model.state_dict(), None)
    with observer.stage(f"embedding {len(study.tokens):,} ASVs"):
        return Start(model.state_dict(), embed_asvs(model, study.tokens))


def pretrain_config(config: FinetuneConfig) -> PretrainConfig:
    """Configuration of the further pretraining: objective of the first run, data and precision of the fine-tuning."""
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
        max_memory=config.run.max_memory,
        resume=has_checkpoint(folder),
    )
    own = PretrainConfig(data=config.data.shared(), model=config.model, optim=optim, run=run, health=config.health)
    return replace(own, loss=began.loss) if isinstance(began, PretrainConfig) else own


def build_unlabelled_corpus(config: FinetuneConfig, study: Study, rows: NDArray[np.int64]) -> Corpus:
    """Build a corpus of samples of a study with the tree of --tree; all samples train."""
    data = resolve_studies(config.data).shared()
    measure = Measure(config.model.unifrac_metric, config.model.unifrac_alpha)
    # What the study has left out is in the ledger of the fold.
    table = replace(study.table.select(samples=rows).drop_absent_asvs(), dropped={})
    tree = None if data.tree is None else read_any_tree(data.tree)
    return replace(match_targets(table, tree, data, study.files, measure), depth=study.depth)
