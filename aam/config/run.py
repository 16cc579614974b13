"""Settings of a run, whatever learns: its length, device and output, and its processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aam.config.fields import MOST_EPOCHS, MOST_STEPS, TEN_YEARS, Preset, option


@dataclass(frozen=True)
class RunConfig:
    """Length, device and output of a run."""

    output_dir: Path = option(
        Path("aam-run"),
        "Run directory: checkpoints, curves, metrics and manifest are written here; it must not hold another run.",
    )
    preset: Preset = option("small", "Size of the model; options such as --dim override it.")
    epochs: int | None = option(
        None,
        "Passes over the training samples; the run ends at the first of --epochs, --max-steps and --max-minutes that it reaches (without any: 100 epochs or 20 minutes).",
        low=1,
        high=MOST_EPOCHS,
    )
    max_steps: int | None = option(None, "Largest number of optimiser steps.", low=1, high=MOST_STEPS)
    max_minutes: float | None = option(
        None,
        "Longest time to train, in minutes, of `aam train` for each fold (default: 20 without --epochs and --max-steps, else none).",
        above=0.0,
        high=TEN_YEARS,
    )
    patience: int | None = option(
        None,
        "End early, with a short fall of the learning rate to 0, after this many evaluations in which the loss of held-out samples has not fallen by 1 %; 0: never (default: 3 without --epochs, --max-steps and --max-minutes, else 0).",
        low=0,
        high=1_000_000,
    )
    eval_every: int | None = option(
        None,
        "Steps between two evaluations on held-out samples (default: about 10 evaluations per run).",
        low=1,
        high=MOST_STEPS,
    )
    seed: int = option(
        0,
        "Seed of everything drawn at random, e.g. rarefied reads; the same seed gives the same result.",
        low=0,
        high=2**32 - 1,
    )
    device: str = option("auto", "Device to compute on: auto, cpu, cuda or cuda:N.")
    num_workers: int = option(
        0, "Number of processes that assemble batches; 0: the training process does.", low=0, high=256
    )
    max_memory: float | None = option(
        None,
        "Most memory of the training process in a step, in GB: before the run, trial steps find how many activations may be kept, and if need be in how many parts each batch is computed (default: no limit).",
        above=0.0,
        high=1_000_000.0,
    )
    resume: bool = option(False, "Continue the run in --output-dir from its last checkpoint.")
    preflight: bool = option(True, "Check that the model can learn from these data before training starts.")
    dry_run: bool = option(
        False, "Read and check the data, print the plan (samples kept, parameters, steps, memory, time) and stop."
    )


@dataclass(frozen=True)
class RanksConfig:
    """Runs of several processes, which `torchrun` starts."""

    shard: bool = option(
        False,
        "Divide weights, gradients and optimiser state among the processes of torchrun, for models too large for one device.",
    )
    rank_timeout: float = option(
        600.0,
        "Seconds without an answer after which a process of torchrun counts as lost; must be longer than the checks before a run, which take up to a minute.",
        above=0.0,
        high=604_800.0,
    )
