"""Whether what makes training fast learns as well as the plain path: both over a long run, in turns.

    python benchmarks/parity.py                                       (the embedded example, about a minute)
    python benchmarks/parity.py --table table.biom --tree tree.nwk --batch-size 8 --token-limit 256 --steps 600

`plain` encodes every occurrence of an ASV for itself, from one padded tensor, and all samples in another: no distinct
ASVs, no packing, no chunks, no groups of like size, no second stage. All start from the same weights and see the same
batches; random numbers of dropout begin alike in every step, and differ where the shapes do. `ours, other noise` is
ours with other draws, and shows how far apart equals end. Scores are of held-out samples: cross-entropy and accuracy of
hidden bases, UniFrac of pairs by both heads. A few dozen steps show that all goes as it should; that they learn alike
takes hundreds, an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import torch
from measure import files_of, print_scores, write
from step import config_of
from torch import Tensor

from aam.config import PretrainConfig
from aam.corpus.dataset import Batch
from aam.corpus.pretraining import Corpus, open_corpus
from aam.inference.heldout import HeldOut
from aam.models.pretrain_model import PretrainModel
from aam.training.run import build_learner, training_batches
from aam.training.step import step

SCORED = 6
"""How often each is scored; the last time at the end."""
FIGURES = ("nucleotide_cross_entropy", "nucleotide_accuracy", "unifrac_r2", "unifrac_mae", "euclidean_r2")


class Kind(NamedTuple):
    """How one of them learns; `noise` chooses what dropout draws."""

    precision: str = "fp32"
    plain: bool = False
    noise: int = 0


KINDS = {
    "plain": Kind(plain=True),
    "ours": Kind(),
    "ours, other noise": Kind(noise=1),
    "ours, bf16": Kind(precision="bf16"),
}


@contextmanager
def plainly(model: PretrainModel, batch: Batch) -> Iterator[None]:
    """Inside, the model encodes this batch by the plain path."""
    asvs, samples = model.asv_encoder, model.sample_encoder
    of = batch.index[batch.valid]

    def embed(tokens: Tensor) -> Tensor:
        occurrences = asvs(tokens[batch.index] * batch.valid[..., None])[batch.valid]
        total = occurrences.new_zeros(len(tokens), occurrences.shape[1]).index_add(0, of, occurrences)
        return total / torch.bincount(of, minlength=len(tokens))[:, None]

    def predict(tokens: Tensor, at: Tensor) -> Tensor:
        return asvs.logits_at(asvs.encode(tokens), at)

    plain = ((asvs, "embed", embed), (asvs, "predict", predict), (samples, "forward", samples.encode))
    for module, name, method in plain:
        setattr(module, name, method)
    yield
    for module, name, _ in plain:
        delattr(module, name)


def learning(kind: Kind, config: PretrainConfig, corpus: Corpus) -> tuple[PretrainModel, Callable[[int, Batch], None]]:
    """A fresh model, and what teaches it a batch by number."""
    torch.manual_seed(config.run.seed)
    learner = build_learner(config, training_batches(config, corpus), torch.device("cpu"))
    horizon = config.run.max_steps or 1

    def learn(number: int, batch: Batch) -> None:
        torch.manual_seed(1_000_000 * kind.noise + number)
        if kind.plain:
            with plainly(learner.model, batch):
                step(learner, [batch], number, horizon)
        else:
            step(learner, [batch], number, horizon)

    return learner.model, learn


@click.command()
@click.option("--table", type=click.Path(path_type=Path), help="Feature table instead of the embedded example.")
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--steps", default=30, show_default=True, help="Steps of each; the learning rate is planned for them.")
@click.option("--batch-size", default=4, show_default=True)
@click.option("--token-limit", default=64, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(KINDS)), help="Some of them (default: all).")
@click.option("--output", type=click.Path(path_type=Path))
def main(
    table: Path | None, tree: Path | None, steps: int, batch_size: int, token_limit: int, only: tuple[str, ...],
    output: Path | None,
) -> None:  # fmt: skip
    """Train them in turns, step by step, and print how good each is now and then."""
    torch.set_num_threads(1)
    size = {"batch_size": batch_size, "token_limit": token_limit, "max_steps": steps}
    options = files_of(table, tree) | size
    config = config_of(options)
    corpus = open_corpus(config)
    held_out = HeldOut.of(config, corpus)
    batches = training_batches(config, corpus)
    chosen = {name: KINDS[name] for name in only or KINDS}
    pupils = {
        name: learning(kind, config_of(options | {"precision": kind.precision}), corpus)
        for name, kind in chosen.items()
    }
    curves: dict[str, list[dict[str, float]]] = {name: [] for name in pupils}
    about = {"table": table.parent.name if table else "example"} | size
    for number in range(steps):
        batch = batches[number]
        for _, learn in pupils.values():
            learn(number, batch)
        if (number + 1) % max(1, steps // SCORED) and number + 1 < steps:
            continue
        for name, (model, _) in pupils.items():
            found = held_out.score_heads(model)
            curves[name].append({"step": number + 1} | found)
            print_scores(name, f"step {number + 1}", {figure: found[figure] for figure in FIGURES})
        write(output, "parity", {}, about | {"curves": curves})


if __name__ == "__main__":
    main()
