"""Samples a CPU second of training by batch size, and the largest figure within 4 GB, against the plain reference.

    python benchmarks/best_batch.py                                       (the embedded example, about a minute)
    python benchmarks/best_batch.py --table table.biom --tree tree.nwk --token-limit 256 --sizes 8,32,128 --seconds 1800

The more samples share a batch, the more of their ASVs they share (`dup`), so larger batches need fewer operations a
sample. The reference encodes every occurrence: its samples cost the same in any batch, and only memory grows. Larger
batches are also fewer steps: this is throughput, not time to quality.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
from measure import Timing, files_of, in_turns, write
from step import EQUAL, make_ours, make_reference

MEMORY = 4e9
VARIANTS = {"ours": {}, "ours, equal": EQUAL}


def report(timings: dict[str, Timing], sizes: dict[str, int]) -> None:
    """A line for each, and the best of each kind."""
    rates = {name: sizes[name] / t.cpu for name, t in timings.items()}
    base = max(rate for name, rate in rates.items() if name.startswith("reference"))
    print(f"{'':<28}{'dup':>6}{'CPU s':>8}{'samples a CPU s':>17}{'x':>7}{'peak MB':>9}")
    for name, t in timings.items():
        dup = t.said["occurrences"] / t.said["asvs"]
        line = f"{name:<28}{dup:>6.2f}{t.cpu:>8.2f}{rates[name]:>17.3f}{rates[name] / base:>7.1f}"
        print(f"{line}{t.memory / 1e6:>9.0f}{'' if t.memory <= MEMORY else '  more than 4 GB'}")
    for kind in VARIANTS:
        fitting = {
            name: rates[name] for name in rates if name.startswith(f"{kind} x") and timings[name].memory <= MEMORY
        }
        best = max(fitting, key=fitting.__getitem__)
        print(f"best within 4 GB: {best}, {fitting[best] / base:.1f} times the reference")


@click.command()
@click.option("--table", type=click.Path(path_type=Path), help="Feature table instead of the embedded example.")
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--token-limit", default=64, show_default=True)
@click.option(
    "--sizes", default="4,16,64", show_default=True, help="Samples of a batch; the reference takes the first."
)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="bf16", show_default=True)
@click.option("--seconds", default=30.0, show_default=True, help="About how long to measure; two rounds at least.")
@click.option("--threads", default=1, show_default=True, help="Arithmetic threads of each process.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file (default: in results/latest).")
def main(
    table: Path | None, tree: Path | None, token_limit: int, sizes: str, precision: str, seconds: float, threads: int,
    output: Path | None,
) -> None:  # fmt: skip
    """Time them in turns and print them."""
    files = files_of(table, tree)
    options = files | {"token_limit": token_limit}
    chosen = [int(size) for size in sizes.split(",")]
    works = {f"reference x {chosen[0]}": partial(make_reference, options | {"batch_size": chosen[0]})}
    by_name = dict.fromkeys(works, chosen[0])
    for kind, changes in VARIANTS.items():
        for size in chosen:
            name, own = f"{kind} x {size}", changes | {"batch_size": size, "precision": precision}
            works[name], by_name[name] = partial(make_ours, options | own), size
    timings = in_turns(works, seconds, threads)
    report(timings, by_name)
    about = {"table": table.parent.name if table else "example", "token_limit": token_limit, "precision": precision}
    write(output, "best_batch", timings, about | {"threads": threads})


if __name__ == "__main__":
    main()
