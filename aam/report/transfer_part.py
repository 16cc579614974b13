"""The part of the report about transfer: what the studies of training are like, and how far they lie apart."""

from __future__ import annotations

from aam.learners.transfer import NEAR, TrainingStudies, TrainingStudy
from aam.report.page import DASH, HtmlTable, Part
from aam.report.study_table import metric_text
from aam.text import counted

HEAD = (
    *("study", "samples", "median reads", "columns of the gene", "differing columns", f"reads within {NEAR:.0%}"),
    *("known reads", "nearest study", "distance", "left out"),
)
WORDS = (
    "Figures are means over samples. Differing columns: the share of its columns in which a read differs from the "
    f"nearest sequence of the reference; within {NEAR:.0%}: the share of the reads that differ in no more. Known "
    "reads: the share of the reads whose ASV another study of training has. Distance: root mean square, over the "
    "clades and ASVs that the model reads, of the difference between two studies in the mean chance that it is seen "
    "in a draw of reads, sampling error taken out; 0 is alike. Left out: the study predicted by a model that was "
    "trained on the others. `aam predict` compares a new table with these studies; one that is farther than each of "
    "them from the others is outside of what was tested."
)
SIGNAL_WORDS = (
    "Signal: balanced accuracy above chance, as a part of what is possible (0 by chance, 1 always right), of a linear "
    "model on principal components of what the model reads, for subjects that it has not seen; labels less the mean of "
    "their study."
)


def transfer_part(found: TrainingStudies | None) -> Part:
    """Each study of training as a row, and whether the study of a sample can be told better than its label."""
    if found is None:
        return Part("Transfer")
    notes, about = list[str](), WORDS
    if found.label_signal is not None and found.study_signal is not None:
        better = "better than" if found.study_outweighs else "no better than"
        notes.append(
            f"The study of a sample can be told {better} its label: signal {found.study_signal:.2f} and "
            f"{found.label_signal:.2f}."
        )
        about = f"{WORDS} {SIGNAL_WORDS}"
    title = f"Transfer: {counted(len(found.studies), 'studies')} of training"
    return Part(title, [table_of(found)], notes=notes, help=about)


def table_of(found: TrainingStudies) -> HtmlTable:
    """A row for each study."""
    return HtmlTable(HEAD, [row_of(one) for one in found.studies])


def row_of(one: TrainingStudy) -> list[str]:
    """The cells of a study."""
    reads = one.reads
    return [
        one.study,
        f"{reads.samples:,}",
        f"{reads.depth:,.0f}",
        f"{reads.first_column:,} to {reads.last_column:,}",
        f"{reads.difference:.1%}",
        f"{reads.near:.0%}",
        DASH if one.known is None else f"{one.known:.0%}",
        one.nearest or DASH,
        f"{one.distance:.3f}" if one.nearest else DASH,
        ", ".join(metric_text(name, scores) for name, scores in one.scores.items()) or DASH,
    ]
