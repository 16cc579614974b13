"""CPU seconds of training to a given quality on held-out samples, ours and the plain reference in turns.

    python benchmarks/time_to_quality.py --table table.biom --tree tree.nwk --goal 0.9 --budget 1800

Both train on the same batches of the same split, one thread each, in turns. Each is scored after 30, 60, 120, ... CPU
seconds of training, on the same pairs of held-out samples and the same hidden bases, outside the clock, and stops once
it has reached the goal or spent its budget. Without --table nothing is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import click
import torch
from measure import print_scores, write
from reference import ReferenceLearner, pad
from step import config_of

from aam.config import PretrainConfig
from aam.corpus.dataset import Batch
from aam.corpus.pretraining import Corpus, open_corpus
from aam.evaluation.metrics import pair_scores, upper_triangle
from aam.inference.heldout import HeldOut
from aam.training.run import build_learner, training_batches
from aam.training.step import step

FIRST = 30.0
"""CPU seconds before the first score; each later one comes after twice as many."""


class Score(NamedTuple):
    """R2 of the UniFrac of held-out pairs and accuracy of hidden bases, after so much training."""

    steps: int
    cpu_seconds: float
    unifrac_r2: float
    nucleotide_accuracy: float


class Contestant(Protocol):
    """Learns from a batch, and is scored: UniFrac R2, nucleotide accuracy."""

    def learn(self, batch: Batch, number: int) -> None: ...
    def score(self) -> tuple[float, float]: ...


class Ours:
    """The default model; its learning rate is planned for `horizon` steps."""

    def __init__(self, config: PretrainConfig, corpus: Corpus, held_out: HeldOut, horizon: int):
        self.learner = build_learner(config, training_batches(config, corpus), torch.device("cpu"))
        self.held_out, self.horizon = held_out, horizon

    def learn(self, batch: Batch, number: int) -> None:
        step(self.learner, [batch], min(number, self.horizon - 1), self.horizon)

    def score(self) -> tuple[float, float]:
        figures = self.held_out.score_heads(self.learner.model)
        return figures["unifrac_r2"], figures["nucleotide_accuracy"]


class Theirs:
    """The reference; it is scored in batches of held-out samples, since its distance is one of embeddings."""

    def __init__(self, corpus: Corpus, held_out: HeldOut, token_limit: int):
        self.true, self.batches = held_out.true, held_out.batches
        self.learner = ReferenceLearner(corpus.tokens.shape[1], token_limit)

    def learn(self, batch: Batch, number: int) -> None:
        self.learner.step(batch)

    @torch.inference_mode()
    def score(self) -> tuple[float, float]:
        model = self.learner.model.eval()
        padded = [pad(batch, self.learner.token_limit) for batch in self.batches]
        samples = torch.cat([model(one.tokens, one.abundance).samples for one in padded])
        predicted = model.unifrac(samples)
        hits = torch.cat([self.hits(batch) for batch in self.batches])
        return pair_scores(upper_triangle(predicted.numpy()), upper_triangle(self.true)).r2, hits.double().mean().item()

    def hits(self, batch: Batch) -> torch.Tensor:
        """Which hidden bases [T] it names; the masked ASVs of the batch stand as one sample, which changes no logit."""
        masked = batch.masked_tokens.long()[None]
        logits = self.learner.model(masked, torch.full(masked.shape[:2], 1 / masked.shape[1])).logits[0]
        row, position = batch.masked_at.T
        return logits[row, position].argmax(-1) == batch.masked_bases


def race(contestant: Contestant, config: PretrainConfig, corpus: Corpus, budget: float, goal: float) -> Iterator[Score]:
    """Train, and give a score whenever one is due, until the goal is reached or the budget spent."""
    batches, done, spent, due = training_batches(config, corpus), 0, 0.0, FIRST
    while True:
        batch, start = batches[done], time.process_time()
        contestant.learn(batch, done)
        spent, done = spent + time.process_time() - start, done + 1
        if spent >= due:
            found = Score(done, spent, *contestant.score())
            yield found
            if found.unifrac_r2 >= goal or spent >= budget:
                return
            due = min(2 * due, budget)


@click.command()
@click.option("--table", type=click.Path(path_type=Path))
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--goal", default=0.9, show_default=True, help="R2 of held-out pairs.")
@click.option("--steps", default=800, show_default=True, help="Steps that our learning rate is planned for.")
@click.option("--budget", default=1800.0, show_default=True, help="CPU seconds of training for each.")
@click.option("--batch-size", default=8, show_default=True)
@click.option("--token-limit", default=256, show_default=True)
@click.option("--output", type=click.Path(path_type=Path))
def main(
    table: Path | None, tree: Path | None, goal: float, steps: int, budget: float, batch_size: int, token_limit: int,
    output: Path | None,
) -> None:  # fmt: skip
    """Train both in turns and say when each was how good."""
    if table is None:
        print("nothing measured: give --table and --tree; this takes an hour")
        return
    torch.set_num_threads(1)
    config = config_of({"table": table, "tree": tree, "batch_size": batch_size, "token_limit": token_limit})
    corpus = open_corpus(config)
    held_out = HeldOut.of(config, corpus)
    contestants: dict[str, Contestant] = {
        "ours": Ours(config, corpus, held_out, steps),
        "reference": Theirs(corpus, held_out, token_limit),
    }
    races = {name: race(one, config, corpus, budget, goal) for name, one in contestants.items()}
    curves: dict[str, list[Score]] = {name: [] for name in races}
    while races:
        for name in list(races):
            found = next(races[name], None)
            if found is None:
                del races[name]
                continue
            curves[name].append(found)
            scores = {"unifrac_r2": found.unifrac_r2, "nucleotide_accuracy": found.nucleotide_accuracy}
            print_scores(name, f"{found.cpu_seconds:.1f} CPU s, step {found.steps}", scores)
    about = {"table": table.parent.name, "goal": goal, "steps": steps, "batch_size": batch_size}
    rows = {name: [score._asdict() for score in curve] for name, curve in curves.items()}
    write(output, "time_to_quality", {}, about | {"token_limit": token_limit, "curves": rows})


if __name__ == "__main__":
    main()
