"""BSCAMPP with EPA-ng, as `placement.py` runs it: on the same columns of the same reference, one thread.

    apt-get install fasttree
    python -m venv ENV && ENV/bin/pip install bscampp==1.0.8 && python benchmarks/placement.py --bscampp ENV/bin ...

The parameters of the model (GTR, four gamma rates) are fitted by FastTree to some of the reference's tips on their own
tree. The best place of each ASV counts. Wedell, Cai and Warnow 2023, SCAMPP; Barbera et al. 2019, EPA-ng.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from placement_data import letters

from aam.gene.profile import NO_BASE
from aam.gene.reads import Reads
from aam.phylogeny.tree import Tree, parse_tree
from aam.placement.placements import NOT_COVERED, PLACED, Placements
from aam.placement.reference import Reference

FITTED_TIPS = 1000
"""Tips of the reference to which the model is fitted."""
RESULT = "result.jplace"
SHORTEST = 1e-6
"""Branches of length 0 are no use to EPA-ng."""
LEAST_BASES = 50
"""Tips and ASVs with fewer bases in the columns are left out."""


class Cost(NamedTuple):
    """Seconds that one core was busy, and the peak memory of the largest process in MB."""

    seconds: float
    megabytes: float


def place_by_bscampp(
    reference: Reference, ids: Sequence[str], reads: Reads, tools: Path, work: Path
) -> tuple[Placements, Cost]:
    """Places of aligned reads; files are kept in `work`, and a result that lies there is taken."""
    work.mkdir(parents=True, exist_ok=True)
    used = reads.strand != 0
    first = max(int(np.percentile(reads.begin[used], 1)), reference.first)
    last = min(int(np.percentile(reads.end[used], 99)), reference.last)
    known, asked = np.ascontiguousarray(reference.on(first, last).T), reads.on(first, last)
    tips = np.flatnonzero((known != NO_BASE).sum(axis=1) >= LEAST_BASES)
    rows = np.flatnonzero((asked != NO_BASE).sum(axis=1) >= LEAST_BASES)
    if not (work / RESULT).exists():
        write_fasta(work / "tips.fasta", "t", tips.tolist(), letters(known[tips]))
        write_fasta(work / "asvs.fasta", "q", rows.tolist(), letters(asked[rows]))
        write_tree(reference.tree, tips, work / "tips.nwk")
        fit_model(reference, known, np.sort(np.random.default_rng(0).permutation(tips)[:FITTED_TIPS]), work)
        cost = run(
            [tools / "bscampp", "-i", work / "fit.bestModel", "-t", work / "tips.nwk", "-a", work / "tips.fasta"]
            + ["-q", work / "asvs.fasta", "-d", work, "-o", RESULT, "--threads", "1", "--cpus-per-job", "1"]
        )
        (work / "cost.json").write_text(json.dumps(cost))
    found = json.loads((work / RESULT).read_text())
    return placements_of(found, reference, ids, reads), Cost(*json.loads((work / "cost.json").read_text()))


def run(command: list[Any]) -> Cost:
    """Run a command on one core, of which nothing is shown."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    one_core = dict(os.environ, OMP_NUM_THREADS="1", PATH=f"{command[0].parent}:{os.environ['PATH']}")
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, env=one_core)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(busy, after.ru_maxrss / 1024)


def write_fasta(path: Path, kind: str, numbers: list[int], texts: list[str]) -> None:
    """Aligned sequences called by a letter and their numbers."""
    path.write_text("".join(f">{kind}{number}\n{text}\n" for number, text in zip(numbers, texts, strict=True)))


def write_tree(tree: Tree, tips: np.ndarray, path: Path) -> None:
    """The tree of some tips, called t and their number."""
    sheared = tree.shear([tree.tip_names[tip] for tip in tips.tolist()])
    plain = Tree([], sheared.first, sheared.last, np.maximum(sheared.length, SHORTEST), sheared.parent)
    path.write_text(plain.to_newick([f"t{tip}" for tip in np.sort(tips).tolist()]) + "\n")


def fit_model(reference: Reference, known: np.ndarray, tips: np.ndarray, work: Path) -> None:
    """Write the parameters that FastTree fits to some tips on their tree, as RAxML writes them."""
    write_fasta(work / "fit.fasta", "t", tips.tolist(), letters(known[tips]))
    write_tree(reference.tree, tips, work / "fit.nwk")
    options = ["-nt", "-gtr", "-gamma", "-nome", "-mllen", "-intree", work / "fit.nwk", "-log", work / "fit.log"]
    command = ["fasttree", *map(str, options), str(work / "fit.fasta")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = (work / "fit.log").read_text()
    frequencies, rates = (re.findall(rf"^{key}\s+(.*)$", log, re.M)[-1].split() for key in ("GTRFreq", "GTRRates"))
    alpha = re.findall(r"Alpha\s+([0-9.]+)", log)[-1]
    model = f"GTR{{{'/'.join(rates)}}}+FU{{{'/'.join(frequencies)}}}+G4{{{alpha}}}"
    (work / "fit.bestModel").write_text(f"{model}, noname = 1-9999\n")


def placements_of(found: dict[str, Any], reference: Reference, ids: Sequence[str], reads: Reads) -> Placements:
    """The best place of each ASV of a jplace record, whose edges are in the order in which its tree names them."""
    text = found["tree"]
    edges = [int(edge) for edge in re.findall(r"\{(\d+)\}", text)]
    tree = parse_tree(re.sub(r"\{\d+\}", "", text).encode(), "jplace")
    node = {edge: number for number, edge in enumerate(edges)}
    tip = np.array([int(name[1:]) for name in tree.tip_names])
    depth = tree.depths()
    tip_depth = depth[tree.tips()]
    edge, weight, distal, pendant = (
        found["fields"].index(field) for field in ("edge_num", "like_weight_ratio", "distal_length", "pendant_length")
    )
    count = len(ids)
    fate, anchor = np.full(count, NOT_COVERED, np.int8), np.full(count, -1)
    top, stem = np.zeros(count), np.zeros(count)
    for record in found["placements"]:
        best = max(record["p"], key=lambda place: place[weight])
        below = node[best[edge]]
        leaf = tree.first[below]
        height = tip_depth[leaf] - depth[below] + best[distal]
        for name in record.get("n") or [entry[0] for entry in record["nm"]]:
            row = int(name[1:])
            fate[row], anchor[row], stem[row] = PLACED, tip[leaf], best[pendant]
            top[row] = max(reference.ancestors.tip_depth[tip[leaf]] - height, 0.0)
    nothing, one = np.zeros((count, 1)), anchor[:, None]
    zeros = nothing.astype(np.int64)
    return Placements(ids, reads, fate, one, zeros, zeros[:, 0], anchor, top, stem, nothing + 1, nothing, nothing, stem)
