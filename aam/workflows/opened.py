"""What was opened, in words: samples left out, reads drawn, how the reads lie, what is cut; for all commands alike."""

from __future__ import annotations

from aam.corpus.dataset import ASVDataset
from aam.corpus.samples import TableSamples
from aam.corpus.token_limit import limit_text
from aam.observer import Observer
from aam.workflows.notes import say_dropped, say_of_tree, say_reads, warn_of_doubtful_counts


def say_opened(samples: TableSamples, observer: Observer, max_bp: int) -> None:
    """Say what was opened for a model that reads `max_bp` bases, and warn of what is doubtful."""
    say_dropped(samples.dropped, observer)
    if samples.reads:
        observer.say(samples.reads)
    say_of_tree(samples.tree, observer)
    warn_of_doubtful_counts(samples.table, observer)
    say_reads(samples, observer, max_bp)


def say_limit(samples: ASVDataset, observer: Observer) -> None:
    """Say what the token limit cuts of drawn samples."""
    if text := limit_text(samples):
        observer.say(f"token limit: {text}")
