"""Inspect batches: samples, ASVs and counts against the table, targets against scikit-bio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor

from aam.config import UnifracEngine
from aam.corpus.dataset import Batch
from aam.io.matrix import read_matrix
from aam.observer import no_progress
from aam.phylogeny.engines import full_faith_pd, full_matrix
from aam.phylogeny.tree import Tree, match_tips
from aam.phylogeny.unifrac import Community, Measure, build_community
from aam.workflows.workbench import Inspection, Workbench, flat_indices, name_first

LETTERS = np.array(list("?ACGT?N"))
"""What each token spells; MASK stands for every ambiguous base."""
PATRISTIC = 16
"""ASVs of a batch whose tree distances are computed again; scikit-bio takes each pair by itself."""
RELATIVE, ABSOLUTE = 1e-5, 1e-6
"""Targets travel as float32."""


def compare_with_table(bench: Workbench, batch: Batch) -> Iterator[Inspection]:
    """Check that each sample is a training sample and occurs once, and compare its slots with the table."""
    table, train = bench.corpus.table, set(bench.corpus.split.train)
    ids = batch.sample_ids
    strange = [f"{name} is no training sample" for name in ids if name not in train]
    strange += [f"{name} comes twice" for place, name in enumerate(ids) if name in ids[:place]]
    yield Inspection("samples", f"B = {len(ids)}", f"{len(set(ids))} distinct training samples", name_first(strange))
    rows = {name: row for row, name in enumerate(table.sample_ids)}
    wrong = [fault for place, name in enumerate(ids) for fault in slot_faults(bench, batch, place, rows[name])]
    found = f"{int(batch.counts.sum()):,} reads"
    yield Inspection("slots", f"[B, S] = {list(batch.index.shape)}", found, name_first(wrong))
    by_read = bench.config.data.positions == "read"
    misspelt = [
        f"tokens of ASV {table.asv_ids[column]} do not spell its sequence"
        for column, row in zip(batch.asvs.tolist(), batch.tokens.numpy(), strict=True)
        if by_read and "".join(LETTERS[row[row > 0][1:]]) != spell(table.sequences[column], bench.config.data.max_bp)
    ]
    found = f"{len(batch.asvs)} {'spelled out' if by_read else 'on the gene'}"
    yield Inspection("sequences", f"[U, L] = {list(batch.tokens.shape)}", found, name_first(misspelt))


def slot_faults(bench: Workbench, batch: Batch, place: int, row: int) -> Iterator[str]:
    """Differences between the slots of one sample and its row of the table."""
    name, depth, limit = batch.sample_ids[place], bench.corpus.depth, bench.config.data.token_limit
    valid = batch.valid[place].numpy()
    columns = batch.asvs.numpy()[batch.index[place].numpy()[valid]]
    counts = batch.counts[place].numpy()[valid]
    table = bench.corpus.table
    there, asv_ids = table.stored[table.stored_rows(np.array([row]))].toarray()[0], table.asv_ids
    for column, count in zip(columns.tolist(), counts.tolist(), strict=True):
        if not 0 < count <= there[column]:
            yield f"{name} has {there[column]} reads of ASV {asv_ids[column]}, the batch says {count:g}"
    if len(set(columns.tolist())) < len(columns):
        yield f"{name} holds an ASV twice"
    whole = depth if depth is not None else int(there.sum())
    if counts.sum() > whole or (len(columns) < limit and counts.sum() != whole):
        yield f"{name} has {counts.sum():g} reads in {len(columns)} slots of at most {limit}, expected {whole}"


def spell(sequence: str, max_bp: int) -> str:
    """A sequence as its tokens represent it: upper case DNA, N for every ambiguous base, cut to `max_bp`."""
    return "".join(base if base in "ACGT" else "N" for base in sequence.upper().replace("U", "T")[:max_bp])


def compare_targets(bench: Workbench, batch: Batch) -> Iterator[Inspection]:
    """Targets of the batch against scikit-bio (generalized UniFrac: the unifrac package) or the given matrix."""
    ids = batch.sample_ids
    tree = bench.corpus.targets.tree_of(ids)
    if batch.unifrac is None:
        yield Inspection("unifrac", "no target", "", "the batch does not say how far its samples are apart")
    elif tree is None:
        record = read_matrix(bench.corpus.files["unifrac_matrix"])
        rows = [record.ids.index(name) for name in ids]
        yield compare_matrix("unifrac", batch.unifrac, record.values[np.ix_(rows, rows)], ids)
    else:
        measure = Measure(bench.config.model.unifrac_metric, bench.config.model.unifrac_alpha)
        engine: UnifracEngine = "unifrac" if measure.metric == "generalized" else "skbio"
        samples = place_on_tree(bench, tree, batch.asvs.tolist(), count_reads(batch))
        yield compare_matrix("unifrac", batch.unifrac, full_matrix(samples, measure, engine, no_progress), ids)
        yield from compare_branch_lengths(bench, batch, tree, full_faith_pd(samples, "skbio", no_progress))


def compare_branch_lengths(bench: Workbench, batch: Batch, tree: Tree, diversity: np.ndarray) -> Iterator[Inspection]:
    """Compare targets in units of branch length: Faith PD of the samples [B], paths between some of the ASVs."""
    if batch.faith_pd is not None:
        differing = differing_places(batch.faith_pd, diversity)
        values = ((batch.sample_ids[row], float(batch.faith_pd[row]), float(diversity[row])) for row in differing)
        wrong = name_first(f"{name}: the batch says {said:.6f}, expected {true:.6f}" for name, said, true in values)
        found = f"{diversity.min():.4g} … {diversity.max():.4g}"
        yield Inspection("faith_pd", f"{list(diversity.shape)}", found, wrong)
    if batch.patristic is not None and batch.patristic_rows is not None:
        chosen = batch.asvs[batch.patristic_rows[:PATRISTIC]].tolist()
        # Between samples of a single ASV, weighted UniFrac is the length of the path between the two tips.
        alone = place_on_tree(bench, tree, chosen, np.eye(len(chosen), dtype=np.int64))
        paths = full_matrix(alone, Measure("weighted", 0.0), "skbio", no_progress)
        names = [bench.corpus.table.asv_ids[column] for column in chosen]
        yield compare_matrix("patristic", batch.patristic[: len(chosen), : len(chosen)], paths, names)


def count_reads(batch: Batch) -> np.ndarray:
    """Reads of the distinct ASVs, int64 [B, U], added up slot by slot."""
    found = np.zeros((len(batch.sample_ids), len(batch.asvs)), dtype=np.int64)
    rows, slots = np.nonzero(batch.valid.numpy())
    np.add.at(found, (rows, batch.index.numpy()[rows, slots]), batch.counts.numpy()[rows, slots].astype(np.int64))
    return found


def place_on_tree(bench: Workbench, tree: Tree, columns: Sequence[int], counts: np.ndarray) -> Community:
    """Build the community of samples with counts [n, ASVs] of these table columns, on the tree."""
    table = bench.corpus.table
    tips = match_tips([table.asv_ids[c] for c in columns], [table.sequences[c] for c in columns], tree, 0.0).tips
    return build_community(csr_array(counts), tips, tree)


def compare_matrix(name: str, target: Tensor, again: np.ndarray, ids: Sequence[str]) -> Inspection:
    """Compare a target [n, n], symmetric with zero diagonal, with a recomputed matrix."""
    wrong = [f"{ids[i]} is at {target[i, i]:.6f} from itself" for i in flat_indices(target.diagonal() != 0)]
    for flat in differing_places(target, again):
        i, j = divmod(flat, len(ids))
        wrong.append(f"{ids[i]} and {ids[j]}: the batch says {target[i, j]:.6f}, expected {again[i, j]:.6f}")
    if not bool((target == target.T).all()):
        wrong.append("not symmetric")
    apart = again[~np.eye(len(ids), dtype=bool)]
    found = f"{apart.min():.4g} … {apart.max():.4g}" if apart.size else "a single row"
    return Inspection(name, f"{list(target.shape)}", found, name_first(wrong))


def differing_places(target: Tensor, again: np.ndarray) -> list[int]:
    """Flat indices at which two arrays of one shape differ by more than float32 explains, or hold NaN."""
    close = np.isclose(target.double().numpy(), again, rtol=RELATIVE, atol=ABSOLUTE)
    return np.flatnonzero(~close).tolist()
