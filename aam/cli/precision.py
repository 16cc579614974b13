"""`aam precision`: find values of a model that are outside the range of half precision, and a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import PATH, TRAINING_ONLY, HeadedCommand, config_options, option_values
from aam.cli.terminal import TERMINAL
from aam.config import PretrainConfig

COMMON = ("table", "tree", "sequences", "example", "token_limit", "preset", "pretrained")
"""Options that `--help` lists."""


@click.command("precision", cls=HeadedCommand, common=COMMON)
@click.argument("run", required=False, type=PATH)
@config_options(PretrainConfig, without=(*TRAINING_ONLY, "precision", "compile"))
@click.option(
    "--batch", type=click.IntRange(0), default=0, show_default=True, help="Number of the training batch to use."
)
def command(run: Path | None, config_file: Path | None, batch: int, **values: Any) -> None:
    """Find where the values of a model are too large or too small for fp16 and bf16.

    The places are predicted from one forward pass in fp32, and confirmed by passes in half precision. RUN is the run
    directory of `aam pretrain`; its own data are used unless --table is given. Without RUN, a new model with the
    options of `aam pretrain` is checked.

    \b
    Examples: aam precision aam-run
              aam precision --example --preset base
    """
    import torch

    from aam.health.precision import autocast_model, bisect_precision
    from aam.training.objective import model_inputs
    from aam.workflows.workbench import open_workbench

    bench = open_workbench(run, option_values(values, config_file), TERMINAL)
    model, inputs = bench.learner.model.eval(), model_inputs(bench.batches[batch].to(bench.learner.device))
    for dtype in (torch.float16, torch.bfloat16):
        click.echo(str(bisect_precision(model, lambda version: version(inputs), dtype, autocast_model)))
