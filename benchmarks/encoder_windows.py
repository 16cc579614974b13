"""Section f of `encoder.py`: one encoder, two windows of the gene."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from encoder_data import Cohort, Places
from encoder_labels import LABELS, fit_line, open_labelled, out_of_fold, score, task_of
from encoder_models import Encoder
from encoder_scores import Floats, scaled
from placement_data import V4, kept_otus, letters, seen_through
from scipy.spatial.distance import cdist, pdist
from scipy.stats import pearsonr

from aam.gene.profile import NO_BASE
from aam.placement.reference import Reference

WINDOWS = {"V4": V4, "V3-V4": (400, 810), "V1-V3": (28, 290), "V5-V7": (900, 1210)}
"""Columns of the gene."""
FIRST = "V4"
READ = 250
"""Bases that a read has at most."""
ASKED = 1000
"""Tips that are sought through the other windows."""
SAMPLES_OF, LABEL = "herfarth", LABELS[3]
"""Study for distances and subjects, and a label."""


class Tips(NamedTuple):
    """DNA of the same tips through each window; through the others only of the first `ASKED`."""

    reads: dict[str, list[str]]


def draw_tips(whole: Reference, count: int) -> Tips:
    """Tips that have most bases of every window, drawn by a fixed seed, with distinct reads in the first window."""
    fits = np.ones(len(whole.tree.tip_names), dtype=bool)
    for first, last in WINDOWS.values():
        bases = (whole.on(first, last) != NO_BASE).sum(axis=0)
        fits &= bases >= 0.9 * np.median(bases)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(fits))[: 2 * count]
    reads = {FIRST: reads_of(whole, rows, FIRST)}
    _, distinct = np.unique(np.array(reads[FIRST], dtype=object), return_index=True)
    kept = np.sort(distinct)[:count]
    found = {name: reads_of(whole, rows[kept[:ASKED]], name) for name in WINDOWS if name != FIRST}
    return Tips({FIRST: [reads[FIRST][row] for row in kept.tolist()], **found})


def reads_of(whole: Reference, rows: Any, window: str) -> list[str]:
    """Reads of tips [n] in a window, from its first column on."""
    codes = np.ascontiguousarray(whole.on(*WINDOWS[window])[:, rows].T)
    return [text.replace("-", "")[:READ] for text in letters(codes)]


def tips_apart(encoder: Encoder, tips: Tips) -> Iterator[tuple[str, dict[str, Any]]]:
    """How far a tip is from itself through another window, and whether it is its own nearest."""
    base = encoder.embed_asvs(tips.reads[FIRST])
    centre, spread = base.mean(axis=0), np.maximum(base.std(axis=0), 1e-9)
    base = (base - centre) / spread
    random = np.random.default_rng(0).permutation(len(base))
    apart = float(np.median(np.linalg.norm(base - base[random], axis=1)[random != np.arange(len(base))]))
    for window, reads in tips.reads.items():
        if window == FIRST:
            continue
        texts, place = np.unique(np.array(reads, dtype=object), return_inverse=True)
        seen = ((encoder.embed_asvs(texts.tolist()) - centre) / spread)[place]
        own = np.linalg.norm(seen - base[: len(seen)], axis=1)
        nearest = cdist(seen, base).argmin(axis=1)
        values = {"own / random distance": float(np.median(own)) / apart}
        values |= {"nearest to itself": float((nearest == np.arange(len(seen))).mean()), "among": len(base)}
        yield window, values


def through_windows(cohort: Cohort, places: Places, whole: Reference) -> dict[str, Cohort]:
    """The samples of a cohort on reference fragments, as each window shows them."""
    otu = kept_otus(places.data2)
    study = cohort.study._replace(ids=[otu[name] for name in cohort.study.ids])
    found = {}
    for name, (first, last) in WINDOWS.items():
        seen, _ = seen_through(study, whole, first, last)
        found[name] = Cohort(cut(seen), cohort.ids, cohort.about)
    return found


def cut(study: Any) -> Any:
    """ASVs cut to `READ` bases; those that are equal then are summed."""
    from scipy import sparse

    texts, group = np.unique(np.array([text[:READ] for text in study.sequences], dtype=object), return_inverse=True)
    merge = sparse.csr_array((np.ones(len(group), np.int64), (np.arange(len(group)), group)))
    names = texts.tolist()
    return study._replace(ids=names, sequences=names, counts=sparse.csr_array(study.counts @ merge))


def samples_apart(encoder: Encoder, seen: dict[str, Cohort]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same samples through two windows: distances, whose sample is nearest, and whether it is itself."""
    points = {name: encoder.embed(cohort) for name, cohort in seen.items()}
    centre, spread = points[FIRST].mean(axis=0), np.maximum(points[FIRST].std(axis=0), 1e-9)
    subjects = seen[FIRST].subjects
    base = (points[FIRST] - centre) / spread
    for name, values in points.items():
        across = cdist((values - centre) / spread, base)
        row = (
            {}
            if name == FIRST
            else {"nearest to itself": float((across.argmin(axis=1) == np.arange(len(base))).mean())}
        )
        np.fill_diagonal(across, np.inf)
        row["same subject"] = float((subjects[across.argmin(axis=1)] == subjects).mean())
        if name != FIRST:
            row["distances, r"] = float(pearsonr(pdist(scaled(values)), pdist(scaled(points[FIRST])))[0])
        yield name, row


def labels_across(encoder: Encoder, seen: dict[str, Cohort]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A label learned from samples through one window and told from other samples through each."""
    task = task_of(LABEL, seen[FIRST])
    base: Floats = encoder.embed(seen[FIRST])
    for name, cohort in seen.items():
        found = score(out_of_fold(fit_line(task.classes), task, base, encoder.embed(cohort)), task)
        yield f"{FIRST} to {name}", found
        if name != FIRST:
            points = encoder.embed(cohort)
            yield f"{name} to {name}", score(out_of_fold(fit_line(task.classes), task, points), task)


def open_windows(places: Places, whole: Reference, samples: int) -> tuple[dict[str, Cohort], dict[str, Cohort]]:
    """Samples for distances and subjects, and for the label, through each window."""
    plain = places.open(SAMPLES_OF, lambda frame: frame["subject"].notna(), samples)
    labelled = open_labelled(LABEL, places, samples)
    return through_windows(plain, places, whole), through_windows(labelled, places, whole)
