"""`aam precision`: where does a model leave the range of half precision, and what would help?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import OWN_DATA, HeadedCommand, config_options, given
from aam.config import PretrainConfig, changed, from_options

UNUSED = ("output_dir", "resume", "dry_run", "preflight", "num_workers", "bundle_step", "precision", "compile")
"""Options of a run that mean nothing where nothing is trained."""


@click.command("precision", cls=HeadedCommand)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@config_options(PretrainConfig, without=UNUSED)
@click.option("--batch", type=click.IntRange(0), default=0, show_default=True, help="Number of the training batch.")
def command(run: Path | None, config_file: Path | None, batch: int, **values: Any) -> None:
    """Predict from one pass in fp32 where a model leaves the range of fp16 and bf16, and confirm it.

    RUN is the output directory of a pretraining, on its own data unless a table is given; without it, a fresh model
    is looked at, with the options of `aam pretrain`.

    \b
    Examples: aam precision aam-run
              aam precision --example --preset base
    """
    from aam.cli.progress import status

    asked = given(values, config_file)
    with status("opening data and model"):
        import torch

        from aam.corpus import open_corpus
        from aam.health.precision import autocast, bisect_precision
        from aam.models.devices import resolve_device
        from aam.training.objective import model_inputs
        from aam.training.run import build_learner, training_batches

        config, weights = trained(run, asked) if run is not None else (from_options(PretrainConfig, asked), None)
        corpus = open_corpus(config)
        batches = training_batches(config, corpus)
        learner = build_learner(config, batches, resolve_device(config.run.device))
        if weights is not None:
            learner.model.load_state_dict(weights)
        inputs = model_inputs(batches[batch].to(learner.device))
    for dtype in (torch.float16, torch.bfloat16):
        click.echo(str(bisect_precision(learner.model.eval(), lambda model: model(inputs), dtype, autocast)))


def trained(run: Path, asked: dict[str, Any]) -> tuple[PretrainConfig, dict[str, Any]]:
    """Configuration and weights of a run, with other data or another batch size where asked for."""
    from aam.checkpoint import Pretrained, open_as

    model, stored = open_as(Pretrained, run)
    others = OWN_DATA if "table" in asked else {}
    return changed(stored, others | asked | {"compile": False}), model.state_dict()
