"""What a corpus costs as it grows: samples resampled from studies, larger trees, and a million samples simulated.

    python benchmarks/scale.py --data FOLDER [--samples 1000 --samples 10000 --samples 100000] [--nodes 400000]

FOLDER has one folder a study, with `table.biom` and `tree.nwk`; without it, the embedded example is resampled. Samples
are drawn with replacement and their reads drawn anew (multinomial), so ASVs grow up to those of the studies. Everything
is measured in processes of its own; memory is what a process holds beyond its imports: its peak, and the part that is
its own and not of the files, which all processes share. Times are CPU times unless they say otherwise.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
from measure import write
from scale_files import grow, simulate, tree_study

from aam.config import DataConfig, LossConfig, PrepareConfig, PretrainConfig
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Draw
from aam.corpus.prepare import prepare
from aam.corpus.prepared import open_prepared
from aam.corpus.pretraining import Corpus, open_corpus
from aam.phylogeny.targets import TreeTargets
from aam.phylogeny.tree import Tree, read_tree

PREDECESSOR = 1600.0
"""Microseconds in which the public predecessor assembles a sample (5,000 samples x 37,000 ASVs, token limit 256)."""
LIMIT, DEPTH, BATCH = 256, 1000, 32
"""ASVs and reads of a sample, samples of a batch."""
DRAWN = 2000
"""Samples that are timed, in random order; the first quarter warms up."""
OPENED = 5
"""Openings of which the median counts."""


def alone(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """What a piece of work measures in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def held() -> dict[str, float]:
    """MB of this process: `peak` since `forget`, `rss` now, and `own`, the part of that which is not mapped files."""
    names = {"VmHWM": "peak", "VmRSS": "rss", "RssAnon": "own"}
    lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {names[name]: int(value.split()[0]) / 1000 for name, value in lines if name in names}


def forget() -> dict[str, float]:
    """Let the peak start from what is held now, which is returned."""
    Path("/proc/self/clear_refs").write_text("5")
    return held()


def preparing(tables: list[Path], trees: list[Path], folder: Path) -> dict[str, float]:
    """Seconds and memory of `aam prepare`."""
    before, wall, cpu = forget(), time.perf_counter(), time.process_time()
    store = prepare(PrepareConfig(table=tuple(tables), tree=tuple(trees)), folder, lambda text: None)
    after = held()
    counts = store.manifest["counts"]
    size = sum(record["bytes"] for record in store.manifest["arrays"].values())
    return {
        "samples": counts["samples"], "asvs": counts["ASVs"], "counts": counts["counts"], "corpus_mb": size / 1e6,
        "source_mb": sum(path.stat().st_size for path in (*tables, *trees)) / 1e6,
        "prepare_wall_s": time.perf_counter() - wall, "prepare_cpu_s": time.process_time() - cpu,
        "prepare_peak_mb": after["peak"] - before["rss"],
    }  # fmt: skip


def using(data: Mapping[str, Any], with_targets: bool) -> dict[str, float]:
    """Start-up, memory, and time per sample of drawing from prepared samples, or, with `table`, from plain files."""
    config = PretrainConfig(data=DataConfig(rarefy_depth=str(DEPTH), **data))
    before = forget()
    found: dict[str, float] = {}
    if (folder := config.data.corpus) is not None:
        found["map_ms"] = 1e3 * median_seconds(lambda: open_prepared(folder, config.data.max_bp))
    start = time.process_time()
    corpus = open_corpus(config)
    found["first_open_ms"] = 1e3 * (time.process_time() - start)
    if folder is not None:
        found["open_ms"] = 1e3 * median_seconds(lambda: open_corpus(config))
    found |= {f"open_{name}_mb": value - before["own" if name == "own" else "rss"] for name, value in held().items()}
    found["packed_us"] = per_sample(corpus, None)
    found["rarefied_us"] = per_sample(corpus, DEPTH)
    found |= {f"used_{name}_mb": value - before["own" if name == "own" else "rss"] for name, value in held().items()}
    if with_targets:
        found |= per_batch(corpus)
    return found


def median_seconds(work: Callable[[], object]) -> float:
    """Median CPU seconds of some runs."""
    seconds = []
    for _ in range(OPENED):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def per_sample(corpus: Corpus, depth: int | None) -> float:
    """CPU microseconds to assemble a sample, in random order."""
    samples = corpus.samples(corpus.sides.train, Draw(depth, LIMIT, "abundance", 0))
    order = np.random.default_rng(0).permutation(len(samples))[:DRAWN].tolist()
    warm = len(order) // 4
    for row in order[:warm]:
        samples[0, row]
    start = time.process_time()
    for row in order[warm:]:
        samples[1, row]
    return 1e6 * (time.process_time() - start) / (len(order) - warm)


def per_batch(corpus: Corpus) -> dict[str, float]:
    """CPU milliseconds a sample for whole batches, and for their targets alone."""
    samples = corpus.samples(corpus.sides.train, Draw(DEPTH, LIMIT, "abundance", 0))
    batches = TrainingBatches(
        samples,
        BATCH,
        corpus.targets,
        LossConfig(),
    )
    numbers, whole, targets = range(min(8, batches.per_epoch)), [], []
    for number in numbers:
        start = time.process_time()
        batches[number]
        middle = time.process_time()
        drawn = [samples[0, int(row)] for row in batches.order(0)[number]]
        parts = [s.sample_id for s in drawn], [s.asvs for s in drawn], [s.counts for s in drawn]
        begun = time.process_time()
        corpus.targets(*parts)
        targets.append(time.process_time() - begun)
        whole.append(middle - start)
    return {name: 1e3 * float(np.median(values)) / BATCH for name, values in (("batch", whole), ("targets", targets))}


def indexing(path: Path) -> dict[str, float]:
    """Seconds and memory to read a tree, and bytes of the arrays that targets need of it."""
    before, start = forget(), time.process_time()
    tree = read_tree(path)
    seconds = time.process_time() - start
    peak = held()["peak"] - before["rss"]
    return {"nodes": len(tree.first), "read_s": seconds, "read_peak_mb": peak, "index_mb": index_bytes(tree) / 1e6}


def index_bytes(tree: Tree) -> int:
    """Bytes of a tree's arrays and of what targets add to them: names, which only messages need, not among them."""
    targets = TreeTargets(tree, np.zeros(1, np.int64), "unweighted", 0.5)
    return sum(part.nbytes for part in (tree.first, tree.last, tree.length, tree.parent, *targets._paths))


def by_samples(data: Path | None, sizes: tuple[int, ...], folder: Path) -> list[dict[str, float]]:
    """Rows of growing numbers of samples."""
    rows = []
    for size in sizes:
        tables, trees = grow(data, size, folder / f"samples-{size}")
        corpus = folder / f"corpus-{size}"
        row = alone(preparing, tables, trees, corpus) | alone(using, {"corpus": corpus}, True)
        rows.append(report(row))
    return rows


def by_nodes(nodes: tuple[int, ...], folder: Path) -> list[dict[str, float]]:
    """Rows of growing trees: 2,000 samples over all tips, prepared; the whole tree in memory beside the sheared one."""
    rows = []
    for count in nodes:
        table, tree = tree_study(count, folder / f"nodes-{count}")
        corpus = folder / f"corpus-nodes-{count}"
        row = alone(indexing, tree) | alone(preparing, [table], [tree], corpus) | alone(using, {"corpus": corpus}, True)
        rows.append(report(row))
    return rows


def against_files(samples: int, asvs: int, folder: Path) -> dict[str, dict[str, float]]:
    """One table of this size opened from its files and prepared."""
    table, tree = tree_study(2 * asvs - 1, folder / "one", samples)
    corpus = folder / "corpus-one"
    prepared = alone(preparing, [table], [tree], corpus) | alone(using, {"corpus": corpus}, False)
    return {"prepared": report(prepared), "files": report(alone(using, {"table": table, "tree": tree}, False))}


def simulated(samples: int, asvs: int, folder: Path) -> dict[str, float]:
    """A corpus of holes: the arrays have their real sizes, and content where opening and drawing look."""
    size = simulate(samples, asvs, folder)
    return report({"samples": samples, "asvs": asvs, "corpus_mb": size / 1e6} | alone(using, {"corpus": folder}, False))


def report(row: dict[str, float]) -> dict[str, float]:
    """Print a row in one line."""
    click.echo(json.dumps({name: round(value, 3) for name, value in row.items()}))
    return row


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder of studies; default: the embedded example.")
@click.option("--samples", multiple=True, default=(1_000, 10_000, 100_000), show_default=True)
@click.option("--nodes", multiple=True, default=(10_000, 100_000, 400_000), show_default=True, help="Of trees.")
@click.option("--simulate", "simulate_samples", default=1_000_000, show_default=True, help="Samples of the simulation.")
@click.option("--simulate-asvs", default=10_000_000, show_default=True, help="ASVs of the simulation.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON to write (default: results/latest/scale.json).")
def main(
    data: Path | None,
    samples: tuple[int, ...],
    nodes: tuple[int, ...],
    simulate_samples: int,
    simulate_asvs: int,
    output: Path | None,
) -> None:
    """Grow, measure, print and write."""
    with tempfile.TemporaryDirectory(prefix="aam-scale-") as name:
        folder = Path(name)
        found = {
            "predecessor_us": PREDECESSOR,
            "by_samples": by_samples(data, samples, folder),
            "by_nodes": by_nodes(nodes, folder),
            "against_files": against_files(5_000, 37_000, folder),
            "simulated": simulated(simulate_samples, simulate_asvs, folder / "simulated"),
        }
    write(output, "scale", {}, found)


if __name__ == "__main__":
    main()
