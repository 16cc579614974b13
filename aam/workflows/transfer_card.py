"""The transfer card: how far a new table lies from the studies of training, and how well such studies were predicted.

Training writes what its studies are like into the checkpoint; prediction compares the new table with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam.config import NUMERIC_TASKS, FinetuneConfig
from aam.corpus.samples import TableSamples
from aam.corpus.study import Study
from aam.corpus.study_checks import contribution, rows_of_studies
from aam.evaluation.baselines import choose_scored
from aam.evaluation.ordination import principal_components
from aam.evaluation.separability import class_signal, halves, within
from aam.evaluation.study_metrics import CLASSES, MEAN, NUMERIC
from aam.folders import BEST
from aam.gene.regions import region_text
from aam.inference.known_asvs import hashes_of, read_known, sketch_asvs, write_known
from aam.io.table import relative_abundance
from aam.learners.transfer import (
    FEWEST_SAMPLES,
    NEAR,
    Profile,
    ReadFigures,
    TrainingStudies,
    TrainingStudy,
    describe_reads,
    known_elsewhere,
    mean_share,
    nearest_study,
    write_studies,
)
from aam.observer import Observer
from aam.report.record import read_metrics
from aam.report.study_table import metric_text
from aam.text import counted
from aam.workflows.clade_inputs import PlacedSamples

ALL = "all samples"
"""Name of the only study of a training that knows no studies."""
STUDY_WARNING = (
    "the study of a sample can be told better than its label (signal {study:.2f} against {label:.2f}, 0 by chance, 1 "
    "always), so differences between studies may pass for the label; trust ranks within one study only"
)


def record_studies(
    config: FinetuneConfig, study: Study, placed: PlacedSamples, features: NDArray[np.float32], observer: Observer
) -> None:
    """Write what the studies of training are like into the checkpoint of a finished run, and a sketch of its ASVs.

    `features` [N, F] are those of the model. Warns where the study can be told better than the label.
    """
    with observer.stage("describing the studies"):
        folder, rows = config.run.output_dir, study_rows(study)
        number = np.empty(len(features), np.int64)
        for at, own in enumerate(rows.values()):
            number[own] = at
        write_known(folder / BEST, sketch_asvs(study.tokens, study.table.counts, np.arange(len(number)), number))
        metrics = read_metrics(folder) if config.fold.leave_one_study_out else {}
        profiles = {name: Profile.of(features[own]) for name, own in rows.items()}
        known = known_elsewhere(study.table.counts, rows) if len(rows) > 1 else {}
        studies = []
        for name, own in rows.items():
            brought = contribution(name, study.labels.rows(own), config.target)
            others = {other: profile for other, profile in profiles.items() if other != name}
            studies.append(
                TrainingStudy(
                    name,
                    brought.subjects,
                    brought.classes,
                    brought.medians,
                    describe_reads(study.table.counts[own], placed.places),
                    known.get(name),
                    profiles[name],
                    *nearest_study(profiles[name], others),
                    scores_of(metrics, name),
                )  # fmt: skip
            )
        found = TrainingStudies(studies, *signals(config, study, features), scores_of(metrics, MEAN))
        write_studies(folder / BEST, found)
    if found.study_outweighs:
        observer.warn(study_warning(found))


def study_rows(study: Study) -> dict[str, NDArray[np.int64]]:
    """The rows of each study; one of all samples if no studies are known."""
    return rows_of_studies(study.labels) or {ALL: np.arange(len(study.labels.sample_ids))}


def scores_of(metrics: Mapping[str, float], name: str) -> dict[str, dict[str, float]]:
    """The metrics of a study, or their means, with their intervals, of those of metrics.json."""
    keys = {kind: f"{kind}_{name}" for kind in (*CLASSES, *NUMERIC) if f"{kind}_{name}_low" in metrics}
    ends = {"value": "", "low": "_low", "high": "_high"}
    return {kind: {end: metrics[key + suffix] for end, suffix in ends.items()} for kind, key in keys.items()}


def signals(config: FinetuneConfig, study: Study, features: NDArray[np.float32]) -> tuple[float | None, float | None]:
    """How well the study and the label of a sample can be told from principal components of the features [N, F]."""
    chosen = choose_scored(len(features), config.run.seed)
    labels, points = study.labels.rows(chosen), principal_components(features[chosen])
    subjects = labels.groups or labels.sample_ids
    studies = rows_of_studies(labels) or {ALL: np.arange(len(chosen))}
    numeric = config.target.task in NUMERIC_TASKS
    classes = halves(labels.numbers[:, 0], studies) if numeric else labels.classes
    of_study = None if labels.studies is None else class_signal(points, labels.studies, subjects, config.run.seed)
    return of_study, class_signal(within(points, studies), classes, subjects, config.run.seed)


def study_warning(found: TrainingStudies) -> str:
    """The warning about studies that can be told better than the label."""
    return STUDY_WARNING.format(study=found.study_signal, label=found.label_signal)


@dataclass(frozen=True)
class TransferCard:
    """A new table beside the studies of training.

    `known`: share of its reads whose ASV was in training, None if that was not recorded. `distances`: to each study;
    empty for fewer than `FEWEST_SAMPLES` samples.
    """

    reads: ReadFigures
    known: float | None
    distances: Mapping[str, float]
    training: TrainingStudies

    @property
    def nearest(self) -> TrainingStudy | None:
        """The nearest study of training."""
        order = sorted(self.training.studies, key=lambda one: self.distances.get(one.study, np.inf))
        return order[0] if self.distances else None

    @property
    def distance(self) -> float:
        """The distance to the nearest study; 0 if that is unknown."""
        return min(self.distances.values(), default=0.0)

    @property
    def too_far(self) -> bool:
        """Whether the table lies farther from training than any study of training from the others."""
        return len(self.training.studies) > 1 and self.distance > self.training.farthest

    @property
    def elsewhere(self) -> bool:
        """Whether the reads lie for less than half of their columns where those of any study of training lie."""
        first, last = self.reads.first_column, self.reads.last_column
        common = [
            min(last, one.reads.last_column) - max(first, one.reads.first_column) + 1 for one in self.training.studies
        ]
        return max(common, default=0) < (last - first + 1) / 2

    def lines(self) -> list[str]:
        """The card in a few lines."""
        reads, each = self.reads, [one.reads for one in self.training.studies]
        known = [one.known for one in self.training.studies if one.known is not None]
        regions = dict.fromkeys(region_text(one.first_column, one.last_column) for one in each)
        found = [
            f"region: {region_text(reads.first_column, reads.last_column)}; training: {', '.join(regions)}",
            f"depth: median {reads.depth:,.0f} reads; training: {span((one.depth for one in each), '{:,.0f}')}",
            f"reads differ from the nearest reference sequence in {reads.difference:.1%} of their columns (training: "
            f"{span((one.difference for one in each), '{:.1%}')}), {reads.near:.0%} in {NEAR:.0%} at most "
            f"({span((one.near for one in each), '{:.0%}')})",
        ]
        if self.known is not None:
            others = f" (studies of training of each other: {span(known, '{:.0%}')})" if known else ""
            found.append(f"reads of ASVs of training: {self.known:.0%}{others}")
        return [*found, self.distance_line(), self.expectation()]

    def distance_line(self) -> str:
        """The line about the nearest study."""
        if self.nearest is None:
            return f"nearest study: unknown, {counted(self.reads.samples, 'samples')} are too few to compare"
        between = [one.distance for one in self.training.studies if one.nearest]
        others = f"; studies of training have theirs at {span(between, '{:.3f}')}" if between else ""
        return f"nearest study: {self.nearest.study}, at distance {self.distance:.3f}{others}"

    def expectation(self) -> str:
        """What predictions of studies left out lead to expect."""
        if not self.training.scores:
            return "expect: unknown; no study was left out in training (--leave-one-study-out)"
        mean = ", ".join(metric_text(name, scores) for name, scores in self.training.scores.items())
        own = self.nearest.scores if self.nearest is not None else {}
        near = ", ".join(metric_text(name, scores) for name, scores in own.items())
        less = "less than " if self.too_far or self.elsewhere else "about "
        there = f"; {self.nearest.study}: {near}" if near and self.nearest is not None else ""
        return f"expect: {less}what studies left out had: {mean}{there}"

    def warnings(self) -> list[str]:
        """What speaks against trusting the predictions."""
        found = []
        if self.too_far:
            found.append(
                f"this table lies farther from training (distance {self.distance:.3f}) than any study of training from "
                f"the others ({self.training.farthest:.3f} at most): predictions may be no better than chance"
            )
        if self.elsewhere:
            found.append("the reads are of another region than those of training; what was measured may not hold")
        return [*found, *([study_warning(self.training)] if self.training.study_outweighs else [])]

    def record(self) -> dict[str, Any]:
        """JSON values."""
        nearest = self.nearest
        return {
            "table": asdict(self.reads) | {"known": self.known},
            "distances": dict(self.distances),
            "nearest": None if nearest is None else nearest.study,
            "distance": self.distance if self.distances else None,
            "farthest_in_training": self.training.farthest,
            "study_signal": self.training.study_signal,
            "label_signal": self.training.label_signal,
            "left_out": dict(self.training.scores),
            "left_out_nearest": {} if nearest is None else dict(nearest.scores),
            "text": self.lines(),
            "warnings": self.warnings(),
        }


def span(values: Iterable[float], form: str) -> str:
    """The least and the largest of some values, once if they read alike."""
    ends = [form.format(value) for value in sorted(values)]
    return " to ".join(dict.fromkeys([ends[0], ends[-1]]))


def make_card(
    training: TrainingStudies,
    checkpoint: Path,
    samples: TableSamples,
    placed: PlacedSamples,
    features: NDArray[np.float32],
) -> TransferCard:
    """The card of a table with these features [N, F] of the model."""
    counts, known = samples.table.counts, read_known(checkpoint)
    share = None
    if known is not None:
        hashes, shares = hashes_of(samples.tokens), relative_abundance(counts)
        looked_up = mean_share(shares, covered := known.covers(hashes))
        seen = mean_share(shares, covered & np.isin(hashes, known.rows["hash"]))
        share = seen / looked_up if looked_up > 0 else None
    own = Profile.of(features)
    enough = len(features) >= FEWEST_SAMPLES
    distances = {one.study: own.distance(one.profile) for one in training.studies} if enough else {}
    return TransferCard(describe_reads(counts, placed.places), share, distances, training)


def say_card(card: TransferCard, observer: Observer) -> None:
    """Say the lines of a card, and warn."""
    for line in card.lines():
        observer.say(line)
    for text in card.warnings():
        observer.warn(text)
