"""CPU seconds of training to a given R2 of held-out UniFrac, ours and the plain reference in turns.

    python benchmarks/time_to_quality.py --table table.biom --tree tree.nwk --goal 0.7 --budget 7200

Both train on the same batches of the same split; both are scored on the pairs of the held-out samples, outside the
clock. Takes hours, because the reference does; without --table nothing is measured.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Protocol

import click
import numpy as np
import torch
from measure import Work, in_turns, write
from reference import ReferenceLearner, pad
from step import config_of

from aam.config import PretrainConfig
from aam.corpus import Corpus, open_corpus
from aam.data.dataset import Batch
from aam.evaluation.heldout import HeldOut
from aam.evaluation.metrics import pair_scores, upper_triangle
from aam.training.run import build_learner, draw_of, hiding_of, training_batches
from aam.training.step import step


class Contestant(Protocol):
    """Learns from a batch, and is scored."""

    def learn(self, batch: Batch, number: int, horizon: int) -> None: ...
    def r2(self) -> float: ...


def held_out_of(config: PretrainConfig, corpus: Corpus) -> HeldOut:
    draw, hiding = draw_of(config.data, corpus.depth, config.run.seed), hiding_of(config.loss)
    return HeldOut(corpus, draw, hiding, config.optim.batch_size)


class Ours:
    """The default model."""

    def __init__(self, config: PretrainConfig, corpus: Corpus):
        self.learner = build_learner(config, training_batches(config, corpus), torch.device("cpu"))
        self.held_out = held_out_of(config, corpus)

    def learn(self, batch: Batch, number: int, horizon: int) -> None:
        step(self.learner, [batch], number, horizon)

    def r2(self) -> float:
        return self.held_out.figures(self.learner.model)["unifrac_r2"]


class Theirs:
    """The reference; it is scored in batches of held-out samples, since its distance is one of embeddings."""

    def __init__(self, config: PretrainConfig, corpus: Corpus):
        held_out = held_out_of(config, corpus)
        self.true, self.batches = held_out.true, held_out.batches
        self.learner = ReferenceLearner(corpus.tokens.shape[1], config.data.token_limit)

    def learn(self, batch: Batch, number: int, horizon: int) -> None:
        self.learner.step(batch)

    @torch.inference_mode()
    def r2(self) -> float:
        model = self.learner.model.eval()
        padded = [pad(batch, self.learner.token_limit) for batch in self.batches]
        samples = torch.cat([model(one.tokens, one.abundance).samples for one in padded])
        predicted = model.unifrac(samples)
        return pair_scores(upper_triangle(predicted.numpy()), upper_triangle(self.true)).r2


def make(kind: type[Ours] | type[Theirs], options: dict[str, object], steps: int, goal: float) -> Work:
    """Rounds of a fiftieth of the steps, each then scored, until the goal is reached; then rounds are empty."""
    config = config_of(options)
    corpus = open_corpus(config.data, config.model.unifrac_metric, config.model.unifrac_alpha, config.run.seed)
    batches = training_batches(config, corpus)
    contestant: Contestant = kind(config, corpus)
    done, spent, reached = 0, 0.0, float("nan")

    def work(number: int) -> dict[str, float]:
        nonlocal done, spent, reached
        if not np.isnan(reached) or done >= steps:
            return {"steps": done, "cpu": spent, "reached": reached}
        for _ in range(max(1, steps // 50)):
            start = time.process_time()
            contestant.learn(batches[done], done, steps)
            spent, done = spent + time.process_time() - start, done + 1
        r2 = contestant.r2()
        print(f"{kind.__name__:<8} step {done:>6}  {spent:>8.1f} CPU s  R2 {r2:.3f}", flush=True)
        reached = spent if r2 >= goal else reached
        return {"steps": done, "cpu": spent, "reached": reached}

    return work


@click.command()
@click.option("--table", type=click.Path(path_type=Path))
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--goal", default=0.7, show_default=True, help="R2 of held-out pairs.")
@click.option("--steps", default=2000, show_default=True, help="Steps that the learning rate is planned for.")
@click.option("--budget", default=7200.0, show_default=True, help="Seconds for all.")
@click.option("--batch-size", default=8, show_default=True)
@click.option("--token-limit", default=256, show_default=True)
@click.option("--output", type=click.Path(path_type=Path))
def main(
    table: Path | None, tree: Path | None, goal: float, steps: int, budget: float, batch_size: int, token_limit: int,
    output: Path | None,
) -> None:  # fmt: skip
    """Train both in turns and say when each was there."""
    if table is None:
        print("nothing measured: give --table and --tree; this takes hours")
        return
    options = {"table": table, "tree": tree, "batch_size": batch_size, "token_limit": token_limit}
    works = {kind.__name__: partial(make, kind, options, steps, goal) for kind in (Ours, Theirs)}
    timings = in_turns(works, budget, threads=1)
    write(output, "time_to_quality", timings, {"table": table.parent.name, "goal": goal, "steps": steps})


if __name__ == "__main__":
    main()
