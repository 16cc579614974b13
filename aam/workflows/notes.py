"""Messages and warnings of several workflows about data, models and the machine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aam.checkpoint import FOLD, config_of_encoder, find_members, fold_folders
from aam.config import FinetuneConfig, Metric, RunConfig, RunnableConfig, RunnableT, TargetConfig
from aam.config.switches import read_switches
from aam.corpus.gene_doubts import doubts_on_gene
from aam.corpus.gene_tokens import cut_tokens
from aam.errors import CheckpointError
from aam.folders import LAST
from aam.inference.known_asvs import (
    LABELLED,
    SAME_STUDY,
    KnownShare,
    hashes_of,
    read_known,
    region_mismatch,
    unite,
)
from aam.io.ids import read_ids
from aam.observer import Observer
from aam.text import QUOTED, counted, name_few, shorten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aam.corpus.lineup import Lineup
    from aam.corpus.samples import TableSamples
    from aam.corpus.study import Study
    from aam.io.table import Table
    from aam.models.chunked_encoder import ChunkedEncoder
    from aam.phylogeny.tree import Tree

LEAST_COMPARED = 10
"""Samples from which on a table is compared with a study: the prevalences of ASVs in fewer say little."""
UNEQUAL_DEPTHS = 10
"""Times the reads of the shallowest sample from which on depths are told to be unequal."""
NAMED_IDS = 3
"""Ids that are named of all that were left out for one reason."""


def say_dropped(dropped: Mapping[str, Sequence[str]], observer: Observer) -> None:
    """Say how many samples or ASVs were left out for each reason, with the first ids."""
    for reason, ids in dropped.items():
        shown = name_few([shorten(name, QUOTED) for name in ids], NAMED_IDS)
        observer.say(f"left out: {counted(len(ids), reason)} ({shown})")


def say_studies(target: TargetConfig, study: Study, observer: Observer) -> None:
    """Say how several studies were joined and what each of them contributes; nothing of a single one."""
    from aam.corpus.study_checks import list_contributions  # pandas, for which other commands do not wait

    for note in study.notes:
        observer.say(note)
    for found in list_contributions(study.labels, target, study.names):
        observer.say(f"study {found.text()}")
    if study.names and len(study.classes) > 2:
        observer.say(f"no AUC within studies: {len(study.classes)} classes; --as-class makes two of them")


def say_of_tree(tree: Tree | None, observer: Observer) -> None:
    """Say what the reader of a tree had to assume."""
    for note in tree.notes if tree is not None else ():
        observer.say(note)


def say_reads(samples: TableSamples, observer: Observer, max_bp: int) -> None:
    """Say how the reads lie on the gene and what was done to line them up; warn where they do not fit.

    Says also how many ASVs are cut to `max_bp` bases.
    """
    say_lineup(samples.lineup, observer)
    if text := cut_text(samples, max_bp):
        observer.say(text)


def say_lineup(lineup: Lineup, observer: Observer) -> None:
    """Say how reads lie and what was done to line them up; warn of what is doubtful."""
    for text in lineup.notes:
        observer.say(text)
    for text in lineup.doubts:
        observer.warn(text)


def cut_text(samples: TableSamples, max_bp: int) -> str:
    """How many ASVs are cut to `max_bp` bases, and how many of all then read alike; empty if none is cut."""
    if not samples.cut:
        return ""
    alike = samples.alike
    same = f"; {counted(alike, 'ASVs')} then equal another one" if alike else ""
    read = f"the {max_bp} bases that the model reads (--max-bp of its pretraining; auto reads all)"
    return f"cut: {counted(samples.cut, 'ASVs')} to {read}{same}"


def warn_of_doubtful_counts(table: Table, observer: Observer) -> None:
    """Warn of a table whose counts look like something else, such as presence in place of reads."""
    for text in table.doubts():
        observer.warn(text)


def warn_of_unequal_depths(
    table: Table, setting: str, metric: Metric | Literal["faith_pd"], observer: Observer
) -> None:
    """Warn, before UniFrac or Faith PD of all reads, of samples with many times the reads of others."""
    depths = table.depths()
    depends = "Faith PD depends" if metric.startswith("weighted") else "Faith PD and unweighted UniFrac depend"
    if setting == "none" and len(depths) and (times := depths.max() / max(depths.min(), 1)) > UNEQUAL_DEPTHS:
        observer.warn(
            f"the deepest sample has {times:,.0f} times the reads of the shallowest, and {depends} on "
            "depth; --rarefy-depth auto draws equally many from each and leaves out the shallowest"
        )


def known_share(members: Sequence[Path], tokens: NDArray[np.uint8], study: int | None = None) -> KnownShare | None:
    """The part of the ASVs, tokens [A, L], that was in training; None if the checkpoints do not record it.

    `members` are those of one model, or of its folds: in the training of any. With positions on the gene, reads that go
    beyond those of training are compared on the bases that these have; with `study`, all bases must be the same.
    """
    sketches = [known for member in members if (known := read_known(member)) is not None]
    if not sketches:
        return None
    known, data = unite(sketches), config_of_encoder(members[0]).data
    on_gene = data.positions == "gene" and study is None
    windows = {(reads.begin, reads.bases) for reads in data.reads if reads.bases} if on_gene else ()
    cut = [(cut_tokens(tokens, *window), window[1]) for window in sorted(windows)]
    shares = [(known.share(hashes_of(own), study), bases) for own, bases in ((tokens, None), *cut)]
    found = [KnownShare(share, bases) for share, bases in shares if share is not None]
    return max(found, key=lambda share: share.value, default=None)


def say_known_share(members: Sequence[Path], tokens: NDArray[np.uint8], observer: Observer) -> None:
    """Say what share of the ASVs, tokens [A, L], was in training, if the checkpoints record it."""
    if (share := known_share(members, tokens)) is not None:
        text, others = f"{share.text(len(tokens))} training", "they" if share.value == 0 else "the others"
        observer.say(text if share.value == 1 else f"{text}; {others} are read by their sequences")


def say_labelled_share(members: Sequence[Path], tokens: NDArray[np.uint8], observer: Observer) -> None:
    """Say what share of the ASVs, tokens [A, L], the samples with labels had from which a model has learned."""
    if (share := known_share(members, tokens, LABELLED)) is not None:
        text = f"{share.text(len(tokens))} the labelled samples of training"
        observer.say(text if share.value == 1 else f"{text}; the model knows the others by their sequences alone")


def say_pretrained_share(encoder: Path, tokens: NDArray[np.uint8], observer: Observer) -> None:
    """Say what share of the ASVs, tokens [A, L], the encoder of --pretrained has read, if it records that."""
    if (share := known_share([encoder], tokens)) is not None:
        observer.say(f"{share.text(len(tokens))} the pretraining of the encoder, which used no labels")


def warn_of_other_study(checkpoint: Path, samples: TableSamples, observer: Observer) -> None:
    """Warn if the ASVs of a table are not those of the study whose labels a model has learned, if that is known."""
    known, count = read_known(checkpoint), len(samples.table.sample_ids)
    if known is None or count < LEAST_COMPARED:
        return
    likeness = known.likeness(hashes_of(samples.tokens), samples.table.counts, LABELLED)
    if likeness is not None and likeness < SAME_STUDY:
        observer.warn(
            f"the ASVs look like those of another study than that of the labels (similarity {likeness:.2f}; in one "
            f"study {SAME_STUDY} or more): predictions may be far off, which known labels (--metadata) tell"
        )


def warn_of_other_region(encoder: ChunkedEncoder, sequences: Sequence[str], observer: Observer) -> None:
    """Warn if ASVs seem to be from another region or strand than those of pretraining."""
    if text := region_mismatch(encoder, sequences):
        observer.warn(text)


def warn_of_unlike_reads(trained: RunnableConfig, samples: TableSamples, observer: Observer) -> None:
    """Warn of reads that a model with positions on the gene has not learned from, or sees nothing of."""
    if trained.data.positions == "gene":
        for text in doubts_on_gene(trained, samples.tokens, samples.lineup.records):
            observer.warn(text)


def warn_of_training_samples(model: Path, scored: Sequence[str], observer: Observer) -> None:
    """Warn if scored samples are training samples of the model."""
    if seen := training_samples_of(model).intersection(scored):
        observer.warn(
            f"{len(seen):,} of the {len(scored):,} samples that were scored had been trained on, so "
            "these metrics are too good; metrics.json of the run has those of held-out samples"
        )


def say_training_samples(model: Path, ids: Sequence[str], observer: Observer) -> None:
    """Say how many of the samples that are predicted, but not scored, are training samples of the model."""
    if seen := training_samples_of(model).intersection(ids):
        fair = "`aam train --folds` predicts each sample by a model that has not seen it"
        if seen <= tested_samples_of(model):
            fair = "predictions.tsv of the run has predictions by models that had not seen them"
        observer.say(
            f"{len(seen):,} of the {len(ids):,} samples had been trained on, so their predictions are better than of "
            f"new ones; {fair}"
        )


def tested_samples_of(model: Path) -> set[str]:
    """Ids of the samples that the folds of a run of `aam train` have tested; empty where that is not recorded."""
    from aam.training.manifest import read_manifest_part

    try:
        return {sample for ids in read_manifest_part(model, "folds").values() for sample in ids}
    except CheckpointError:
        return set()


def training_samples_of(model: Path) -> set[str]:
    """Ids of the samples that a model, or any of the models that predict together, was trained on.

    Empty for a checkpoint that was copied out of its run.
    """
    from aam.training.manifest import TRAIN_IDS, find_run_folder, read_manifest_part

    try:
        listed = find_run_folder(model) / TRAIN_IDS
        if listed.is_file():
            return set(read_ids(listed, CheckpointError))
        ids, folds = (read_manifest_part(model, name) for name in ("sample_ids", "folds"))
    except CheckpointError:
        return set()
    parts = [path.name for path in (model, model.parent) if path.name.startswith(FOLD)]
    tested = [folds[name] for number, name in enumerate(folds, 1) if not parts or parts[0] == f"{FOLD}{number}"]
    return set(ids) - set(ids).intersection(*tested)


def warn_of_missing_folds(model: Path, count: int, observer: Observer) -> None:
    """Warn if a run has only `count` of its models: its cross-validation is not finished, or was copied in part."""
    from aam.training.manifest import MANIFEST, read_manifest_part

    folds = len(read_manifest_part(model, "folds")) if fold_folders(model) and (model / MANIFEST).exists() else count
    if count < folds:
        observer.warn(
            f"{model} holds the models of {count} of its {folds} folds, and these alone are used; let the run "
            "come to its end, or copy the whole folder"
        )


def say_last_checkpoint(model: Path, observer: Observer) -> None:
    """Say that a run is opened by its last checkpoint because it has no best one yet."""
    opened, config = find_members(model)[0], config_of_encoder(model)
    by_design = isinstance(config, FinetuneConfig) and config.fold.selection_fraction == 0
    if opened.name == LAST and opened != model and not by_design:
        observer.say(f"{model} has no best/, which comes with the first evaluation; opened {opened}")


def say_end(early: str, resumed: int | None, step: int, observer: Observer) -> None:
    """Say how to go on after a pretraining that ended `early` (why, or empty), or had ended before it was `resumed`."""
    if early:
        observer.say(f"{early}; --resume --patience 0 trains on")
    elif resumed == step:
        longer = "--resume with a larger --max-minutes, --max-steps or --epochs"
        observer.say(f"the run had ended, at step {step:,}; {longer} trains on")


def say_default_length(run: RunConfig, observer: Observer) -> None:
    """Say how long a run trains that was not told, and how to train longer."""
    # of what only training needs
    from aam.training.state import DEFAULT_EPOCHS, DEFAULT_MINUTES, patience_of, unbounded

    if unbounded(run):
        flat = f", or until the held-out loss is flat for {patience_of(run)} evaluations" if patience_of(run) else ""
        observer.say(
            f"trains for {DEFAULT_MINUTES:g} minutes, or {DEFAULT_EPOCHS} epochs if they are over before{flat}; "
            "--max-minutes MINUTES or --epochs EPOCHS trains longer"
        )


def apply_switches(config: RunnableT, observer: Observer) -> RunnableT:
    """The configuration with the AAM_* switches of the environment, which override it; says which they change."""
    switches = read_switches(os.environ, config.health)
    for note in switches.notes(config.health):
        observer.say(note)
    return dataclasses.replace(config, health=switches.config)
