"""Embedding the samples of a table, first pass and with ASV embeddings kept, against the plain reference.

    python benchmarks/embed.py                                        (the embedded example, under two minutes)
    python benchmarks/embed.py --table table.biom --tree tree.nwk --token-limit 256

The reference embeds a few samples a round, ours the whole table: figures are seconds a sample. `equal` has the
reference's architecture (see step.py). `dup` is occurrences over distinct ASVs of the whole table.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from measure import Timing, Work, files_of, in_turns, write
from reference import Reference, pad
from step import EQUAL, config_of

from aam.config import PretrainConfig
from aam.corpus.dataset import ASVDataset, build_draw, collate_fn
from aam.corpus.pretraining import Corpus, open_corpus
from aam.inference.asvs import encode_asvs
from aam.inference.embed import Encoding
from aam.models.pretrain_model import PretrainModel

SOME = 4
"""Samples that the reference embeds in a round."""


def opened(config: PretrainConfig) -> tuple[Corpus, ASVDataset]:
    """A table and all its samples."""
    corpus = open_corpus(config)
    everyone = np.arange(len(corpus.table.sample_ids))
    return corpus, corpus.samples(everyone, build_draw(config.data, corpus.depth, config.run.seed))


def make_ours(options: dict[str, Any], kept: bool) -> Work:
    """The whole table; where `kept`, the ASVs are embedded before the clock starts."""
    config = config_of(options)
    corpus, dataset = opened(config)
    samples = [dataset[row] for row in range(len(dataset))]
    columns = np.unique(np.concatenate([sample.asvs for sample in samples]))
    dup = sum(len(sample.asvs) for sample in samples) / len(columns)
    model = PretrainModel(config.model).eval()
    before = encode_asvs(model, corpus.tokens, columns) if kept else None

    def work(number: int) -> dict[str, float]:
        asvs = before or encode_asvs(model, corpus.tokens, columns)
        Encoding(model, samples, asvs, config.data.token_limit).embeddings()
        return {"samples": len(samples), "dup": dup}

    return work


def make_reference(options: dict[str, Any]) -> Work:
    """A few samples, others in every round; medians are over rounds."""
    config = config_of(options)
    corpus, dataset = opened(config)
    model = Reference(corpus.tokens.shape[1]).eval()

    @torch.inference_mode()
    def work(number: int) -> dict[str, float]:
        rows = np.random.default_rng(number).choice(len(dataset), SOME, replace=False)
        batch = collate_fn([dataset[int(row)] for row in rows])
        padded = pad(batch, config.data.token_limit)
        model(padded.tokens, padded.abundance)
        return {"samples": SOME}

    return work


def report(timings: dict[str, Timing]) -> None:
    """A line for each, by sample."""
    base = timings["reference"]
    print(f"{'':<22}{'CPU ms a sample':>16}{'x CPU':>8}{'peak MB':>9}{'n':>4}   dup {timings['ours'].said['dup']:.1f}")
    for name, t in timings.items():
        each = t.cpu / t.said["samples"]
        ratio = base.cpu / base.said["samples"] / each
        print(f"{name:<22}{1e3 * each:>16.2f}{ratio:>8.0f}{t.memory / 1e6:>9.0f}{t.rounds:>4}")


@click.command()
@click.option("--table", type=click.Path(path_type=Path), help="Feature table instead of the embedded example.")
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--token-limit", default=64, show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="About how long to measure; two rounds at least.")
@click.option("--threads", default=1, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="JSON file (default: in results/latest).")
def main(
    table: Path | None, tree: Path | None, token_limit: int, seconds: float, threads: int, output: Path | None
) -> None:
    """Time them in turns and print them."""
    files = files_of(table, tree)
    options = files | {"token_limit": token_limit}
    works = {
        "reference": partial(make_reference, options),
        "ours": partial(make_ours, options, False),
        "ours, ASVs kept": partial(make_ours, options, True),
        "equal": partial(make_ours, options | EQUAL, False),
        "equal, ASVs kept": partial(make_ours, options | EQUAL, True),
    }
    timings = in_turns(works, seconds, threads)
    report(timings)
    about = {"table": table.parent.name if table else "example", "token_limit": token_limit, "threads": threads}
    write(output, "embed", timings, about)


if __name__ == "__main__":
    main()
