"""Sections d and f of `placement.py`: families that the reference lacks, and genera of tips held out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from placement_data import (
    FAMILIES,
    FAMILY,
    FAMILY_TABLE,
    GENUS,
    Study,
    drawn_families,
    held_tips,
    keep,
    merged_reference,
    read_study,
    taxa_of,
)
from placement_methods import Methods
from placement_scores import Floats, Ints, place_error, placed_by_all, scores_of, unifracs
from scipy import sparse

from aam.evaluation.calibration import expected_calibration_error
from aam.placement.placements import Placements
from aam.placement.reference import Reference

MOST_TIPS = 100
"""Of each family so many tips are placed."""
FAMILY_READS = 100
"""Of the samples only the reads of the families are kept, so many of each."""
NB_FEATURES, NB_ALPHA, NB_CHUNK, NB_AT_ONCE = 8192, 0.001, 20_000, 200
"""As the naive Bayes of q2-feature-classifier: hashed 7-mers, smoothing, and rows learned and told at a time."""


def families(tables: Path, methods: Methods, samples: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Whole families taken out: errors of the places of their tips, and UniFrac of the reads of them."""
    full, study = merged_reference(tables, methods.work), read_study(tables / FAMILY_TABLE)
    gone, family, rng = drawn_families(full, tables), taxa_of(full, FAMILY), np.random.default_rng(0)
    less, methods = keep(full, ~gone), methods._replace(bscampp=None)
    some = [rng.permutation(np.flatnonzero(family == one))[:MOST_TIPS] for one in np.unique(family[gone])]
    tips = study_of_tips(full, np.sort(np.concatenate(some)))
    found = methods.place(less, tips, "less-families")
    rows = placed_by_all([one.placements for one in found.values()])
    for method, placed in found.items():
        error = place_error(full, less, placed.placements, rows)
        yield f"{FAMILIES} families, {method}", {"tips": len(tips.ids), "placed": len(rows), **error._asdict()}
    study = study.only(np.flatnonzero(gone[full.tree.leaves_of(study.ids)])).rarefied(FAMILY_READS, samples)
    found = methods.place(less, study, "less-families")
    study = study.only(placed_by_all([one.placements for one in found.values()]))
    true, sizes = unifracs(full.tree, study), {"samples": study.counts.shape[0], "ASVs": len(study.ids)}
    for method, placed in found.items():
        yield f"{FAMILY_TABLE}, {method}", scores_of(less, placed.placements, study, true) | sizes


def study_of_tips(reference: Reference, tips: Ints) -> Study:
    """Tips of the reference of fragments as ASVs without samples."""
    names = [reference.tree.tip_names[tip] for tip in tips.tolist()]
    return Study("tips", names, names, sparse.csr_array((0, len(names)), dtype=np.int64))


def genera(tables: Path, methods: Methods) -> Iterator[tuple[str, dict[str, Any]]]:
    """Genus of tips that are held out and have a genus; a genus that no other tip has cannot be told by any method."""
    full = merged_reference(tables, methods.work)
    assert full.lineages is not None
    out = held_tips(full)
    held, less = np.flatnonzero(out), keep(full, ~out)
    true = np.array([genus_of(full.lineages[tip]) for tip in held.tolist()])
    study = study_of_tips(full, held)
    for method, placed in methods._replace(bscampp=None).place(less, study, "less-genera").items():
        guess, confidence = told(less, placed.placements)
        yield f"genus, {method}", judged(guess == true, confidence) | {"seconds": placed.seconds}
    start = time.process_time()
    guess, confidence = naive_bayes(less, study.sequences)
    yield "genus, naive Bayes", judged(guess == true, confidence) | {"seconds": time.process_time() - start}


def judged(right: np.ndarray, confidence: Floats) -> dict[str, Any]:
    """Share of right ones, and how well the confidence tells it."""
    return {
        "right": float(right.mean()),
        "calibration error": expected_calibration_error(confidence, right),
        "tips": len(right),
    }


def genus_of(lineage: str) -> str:
    """The lineage down to the genus, whose name may be unknown ("g__")."""
    return "; ".join(part.strip() for part in lineage.split(";")[: GENUS + 1])


def told(reference: Reference, placements: Placements) -> tuple[np.ndarray, Floats]:
    """The genus of each ASV and how sure it is: of candidates that are as likely the first counts."""
    assert reference.lineages is not None
    guess, sure = [], np.zeros(len(placements.ids))
    chance = placements.chance if placements.confidence is None else placements.confidence[:, :, GENUS]
    for row in range(len(placements.ids)):
        likely: dict[str, float] = {}
        for tip, one in zip(placements.candidates[row].tolist(), chance[row].tolist(), strict=True):
            if tip >= 0:
                name = genus_of(reference.lineages[tip])
                likely[name] = likely.get(name, 0.0) + one
        guess.append(max(likely, key=likely.__getitem__, default=""))
        sure[row] = likely.get(guess[-1], 0.0)
    return np.array(guess), np.clip(sure, 0, 1)


def naive_bayes(reference: Reference, sequences: list[str]) -> tuple[np.ndarray, Floats]:
    """Multinomial naive Bayes on hashed 7-mers with equal priors, learned from all tips of the reference."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.naive_bayes import MultinomialNB

    assert reference.lineages is not None
    words = HashingVectorizer(analyzer="char_wb", ngram_range=(7, 7), n_features=NB_FEATURES, alternate_sign=False)
    lineage = np.array([genus_of(one) for one in reference.lineages])
    classes, model = np.unique(lineage), MultinomialNB(alpha=NB_ALPHA, fit_prior=False)
    for start in range(0, len(lineage), NB_CHUNK):
        texts = list(reference.tree.tip_names[start : start + NB_CHUNK])
        model.partial_fit(words.transform(texts), lineage[start : start + NB_CHUNK], classes)
    parts = [sequences[start : start + NB_AT_ONCE] for start in range(0, len(sequences), NB_AT_ONCE)]
    chance = np.concatenate([model.predict_proba(words.transform(part)) for part in parts])
    return classes[chance.argmax(axis=1)], chance.max(axis=1)
