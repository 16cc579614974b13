"""What a step is on a device: pace, share of the products' rate, memory, and whether it computes what a CPU does.

    python benchmarks/device.py --table table.biom --tree tree.nwk --device cuda        (base and large, bf16)
    python benchmarks/device.py --device cpu --preset tiny --steps 3                    (what it does, anywhere)

`fed` are steps whose batches are assembled meanwhile, reads drawn and targets computed, as in a run; `ready` are steps
on batches that wait. `of gemm` are useful operations of the transformers a second, as a share of what one large matrix
product reaches in the same precision in the same run. Losses and gradients are those of a small model on one batch,
against a CPU in single precision, with up to 64 to 320 ASVs a sample: for some lengths cuDNN's attention gives NaN
backward.
Wall seconds, medians, the first steps left out; peaks are of the device's memory, on a CPU of the process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from measure import Timing, files_of, peak_memory, write
from step import batches_of, config_of, operations
from torch import Tensor

from aam.config import Precision, PretrainConfig
from aam.corpus.dataset import Batch
from aam.corpus.pretraining import Corpus, open_corpus
from aam.models.devices import PRECISION_DTYPES, resolve_device
from aam.training.run import Weights, build_learner, training_batches
from aam.training.step import Learner, add_gradients, step

WARM = 3
"""Steps that are left out: kernels are chosen, memory is asked for, workers start."""
WORKERS = min(4, os.cpu_count() or 1)
"""Processes that assemble the batches of steps that are fed."""
TRAINING = 50
"""Steps of the model whose losses are compared."""
LIMITS = 64, 128, 192, 256, 320
"""Token limits; rows of 64 more than a multiple of 128 are those that cuDNN is known for (pytorch#196678)."""


def clock(device: torch.device) -> float:
    """Wall seconds, with all work of the device done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def rate_of_products(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of one large matrix product, the best of some."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(10):
        start = clock(device)
        torch.mm(left, right)
        seconds.append(clock(device) - start)
    return 2.0 * size**3 / min(seconds)


def seconds_a_step(learner: Learner, batches: Iterator[Batch], steps: int) -> list[float]:
    """Of every step and of waiting for its batch, the first ones left out."""
    found, start = [], clock(learner.device)
    for number in range(WARM + steps):
        step(learner, [next(batches)], number, WARM + steps)
        found.append(clock(learner.device) - start)
        start += found[-1]
    return found[WARM:]


def pace(config: PretrainConfig, device: torch.device, steps: int) -> dict[str, float]:
    """Seconds of steps that are fed and of steps whose batches are ready; what they are made of; the peak of memory."""
    batches = batches_of(config)
    learner = build_learner(config, batches, device)
    kept = [batches[number] for number in range(WARM + steps)]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    ready = seconds_a_step(learner, iter(kept), steps)
    fed = seconds_a_step(learner, batches.stream(0, WORKERS), steps)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    useful = [operations(learner.model, config.model, batch)[0] for batch in kept[WARM:]]
    return {
        "ready": float(np.median(ready)),
        "fed": float(np.median(fed)),
        "samples": config.optim.batch_size / float(np.median(fed)),
        "asvs": float(np.median([len(batch.asvs) for batch in kept[WARM:]]) / np.median(fed)),
        "operations": float(np.median(useful) / np.median(ready)),
        "memory": float(memory),
    }


class Found(NamedTuple):
    """Loss terms [n], gradient of all weights, and the most ASV slots of a sample."""

    terms: Tensor
    gradient: Tensor
    slots: int


def trained(options: dict[str, Any], corpus: Corpus) -> Weights:
    """Weights after some steps in single precision; embeddings of fresh ones are nearly constant: noise in bfloat16."""
    config = config_of(options | {"precision": "fp32", "batch_size": 32})
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, torch.device("cpu"))
    for number in range(TRAINING):
        step(learner, [batches[number]], number, TRAINING)
    return learner.model.state_dict()


def first_pass(options: dict[str, Any], corpus: Corpus, device: torch.device, weights: Weights) -> Found:
    """Of the first batch, without dropout, on the host."""
    config = config_of(options | {"dropout": 0.0})
    batches = training_batches(config, corpus)
    learner, batch = build_learner(config, batches, device, weights), batches[0]
    _, terms = add_gradients(learner, batch, 1)
    gradient = torch.cat([p.grad.flatten() for p in learner.model.parameters() if p.grad is not None])
    return Found(terms.float().cpu(), gradient.cpu(), batch.valid.shape[1])


def compare(options: dict[str, Any], device: torch.device, precisions: Sequence[str]) -> None:
    """For each token limit, how far losses and gradient are from those of a CPU in single precision."""
    heads = "".join(f"{f'{what}, {precision}':>18}" for precision in precisions for what in ("loss", "gradient"))
    print(f"{'token limit':<12}{'slots':>6}{heads}    relative to a CPU in fp32")
    corpus = open_corpus(config_of(options))
    weights = trained(options, corpus)
    for limit in LIMITS:
        here = options | {"token_limit": limit}
        wanted = first_pass(here | {"precision": "fp32"}, corpus, torch.device("cpu"), weights)
        line = f"{limit:<12}{wanted.slots:>6}"
        for precision in precisions:
            found = first_pass(here | {"precision": precision}, corpus, device, weights)
            for one, other in ((found.terms[:1], wanted.terms[:1]), (found.gradient, wanted.gradient)):
                line += f"{float((one - other).norm() / other.norm()):>18.1e}"
        print(line)


@click.command()
@click.option("--table", type=click.Path(path_type=Path), help="Feature table instead of the embedded example.")
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", type=click.Choice(list(PRECISION_DTYPES)), default="bf16", show_default=True)
@click.option("--preset", multiple=True, default=["base", "large"], show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--steps", default=20, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="JSON file (default: in results/latest).")
def main(
    table: Path | None, tree: Path | None, device: str, precision: Precision, preset: tuple[str, ...], batch_size: int,
    steps: int, output: Path | None,
) -> None:  # fmt: skip
    """Time the presets on a device, and compare a small model with a CPU."""
    where, dtype = resolve_device(device), PRECISION_DTYPES[precision]
    options = files_of(table, tree) | {"batch_size": batch_size, "precision": precision}
    peak = rate_of_products(dtype, where)
    print(f"{where}, {precision}: products {peak / 1e12:.3g} TFLOP/s")
    print(f"{'':<10}{'ready s':>10}{'fed s':>10}{'samples/s':>11}{'ASVs/s':>10}{'of gemm':>9}{'peak MB':>9}")
    timings = {}
    for name in preset:
        said = pace(config_of(options | {"preset": name}), where, steps)
        said["of gemm"] = said["operations"] / peak
        timings[name] = Timing(said["ready"], said["ready"], int(said["memory"]), steps, said)
        print(
            f"{name:<10}{said['ready']:>10.3f}{said['fed']:>10.3f}{said['samples']:>11.1f}{said['asvs']:>10.0f}"
            f"{said['of gemm']:>9.0%}{said['memory'] / 1e6:>9.0f}"
        )
    compare(options | {"preset": "tiny", "batch_size": 4}, where, list(dict.fromkeys(["fp32", precision])))
    about = {"table": table.parent.name if table else "example", "batch_size": batch_size, "precision": precision}
    write(output, "device", timings, about | {"device": str(where)})


if __name__ == "__main__":
    main()
