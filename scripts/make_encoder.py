#!/usr/bin/env python3
"""Make the encoder that ships, from the archive of a reference and folders of studies; a stopped call goes on.

\b
scripts/make_encoder --studies STUDIES --studies TABLES --work less --held-out --until figures
scripts/make_encoder --studies STUDIES --studies TABLES --work all --reference less/reference \\
    --asvs less/asvs --figures less/figures/figures.json

The first call trains without the studies that the figures are of, and measures the encoder; the second makes the
encoder that ships, of all studies, whose card has the figures of the first.

Stages, each of which is skipped if it is done and its inputs are unchanged:

\b
reference  the archive of PyPI, aligned, and its placement learned
asvs       the encoder of ASVs, by `aam pretrain` from the reference alone
corpus     the tables of the studies, joined by `aam prepare`
samples    the encoder of samples, by `aam pretrain` from the corpus, on that of ASVs
figures    benchmarks/encoder.py, beside an untrained encoder
card       card.json and card.md
ship       aam/encoders/NAME

A folder of --studies holds a folder for each study, with table.biom and tree.nwk; those without a tree of their own
share the tree.nwk that lies in a folder without a table. The whole takes at most 160 minutes on two cores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import encoder_recipe as recipe
from encoder_card import card_facts
from encoder_stages import ROOT, Stage, aam, call

from aam.corpus.store import open_store
from aam.errors import AamError
from aam.io.files import digest
from aam.placement.store import RECORD

STAGES = ("reference", "asvs", "corpus", "samples", "figures", "card", "ship")
TABLE, TREE = "table.biom", "tree.nwk"
METRICS, WEIGHTS, LAST = "metrics.json", "best/model.safetensors", "last/model.safetensors"
"""Files of a run: what is written last, the weights with the least loss, and those of the last step. In the stage asvs
the loss is one of few simulated samples, and tips are learned best at the end."""
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_TOP_PAD_": "200000000",
}  # fmt: skip
"""Settings of glibc by which freed memory is kept: training is then 2 to 4 times as fast where page faults are slow."""


@dataclass(frozen=True)
class Source:
    """A study: its name, its table and its tree."""

    name: str
    table: Path
    tree: Path


def find_studies(folders: Sequence[Path], left_out: Sequence[str]) -> list[Source]:
    """The studies below these folders, without those left out; raises `click.UsageError` for what does not fit."""
    found = []
    for folder in folders:
        shared = [path for path in sorted(folder.glob(f"*/{TREE}")) if not path.with_name(TABLE).is_file()]
        for table in sorted(folder.glob(f"*/{TABLE}")):
            trees = [table.with_name(TREE)] if table.with_name(TREE).is_file() else shared
            if len(trees) != 1:
                raise click.UsageError(
                    f"{table.parent} has no {TREE}, and {folder} has {len(trees)} to share, expected 1"
                )
            found.append(Source(table.parent.name, table, trees[0]))
    names = [source.name for source in found]
    for name in left_out:
        if name not in names:
            raise click.UsageError(f"--leave-out {name}: no such study; there are {', '.join(names) or 'none'}")
    if twice := {name for name in names if names.count(name) > 1}:
        raise click.UsageError(f"two folders of studies are called {min(twice)}; rename one")
    if not (kept := [source for source in found if source.name not in left_out]):
        raise click.UsageError(f"no study is left; --studies FOLDER holds folders with {TABLE}")
    return kept


@dataclass(frozen=True)
class Recipe:
    """The stages of one encoder, in the folder `work`; the options of the command."""

    work: Path
    folders: tuple[Path, ...]
    left_out: tuple[str, ...]
    name: str
    given_reference: Path | None
    given_asvs: Path | None
    archive: Path | None
    given_figures: Path | None
    threads: int

    @cached_property
    def studies(self) -> list[Source]:
        """The studies of training."""
        return find_studies(self.folders, self.left_out)

    @property
    def reference(self) -> Path:
        """The folder of the reference."""
        return self.given_reference or self.work / "reference"

    @property
    def asvs(self) -> Path:
        """The run that learned to encode ASVs; a call with another --work may share it."""
        return self.given_asvs or self.work / "asvs"

    @property
    def corpus(self) -> Path:
        """The folder of the corpus."""
        return self.work / "corpus"

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.work / "run"

    @property
    def figures(self) -> Path:
        """The figures on the card."""
        return self.given_figures or self.work / "figures" / "figures.json"

    @property
    def card(self) -> Path:
        """The folder of the card."""
        return self.work / "card"

    def make_reference(self) -> None:
        """Download the archive, check and unpack it, and make a reference of it."""
        with tempfile.TemporaryDirectory() as name:
            files = unpack_archive(self.archive or download_archive(Path(name)), Path(name))
            options: list[str | Path] = [word for option, path in files.items() for word in (f"--{option}", path)]
            aam("reference", *options, "--threads", str(self.threads), "-o", self.reference)

    def make_corpus(self) -> None:
        """Join the studies."""
        options: list[str | Path] = [
            word for each in self.studies for word in ("--table", each.table, "--tree", each.tree)
        ]
        aam("prepare", *options, *recipe.PREPARE, "-o", self.corpus)

    def learn_asvs(self) -> None:
        """Pretrain the encoder of ASVs, or go on."""
        options: list[str | Path] = [
            "--reference",
            self.reference,
            *recipe.ASVS,
            "--max-minutes",
            str(recipe.MINUTES["asvs"]),
        ]
        pretrain(options, self.asvs)

    def learn_samples(self) -> None:
        """Pretrain the encoder of samples, or go on."""
        options: list[str | Path] = ["--pretrained", self.asvs / "last", "--corpus", self.corpus]
        options += ["--reference", self.reference, *recipe.SAMPLES]
        pretrain([*options, "--max-minutes", str(recipe.MINUTES["samples"])], self.run)

    def measure(self) -> None:
        """Measure the encoder, beside an untrained one."""
        own, shared = split_folders(self.folders)
        self.figures.parent.mkdir(parents=True, exist_ok=True)
        options: list[str | Path] = ["--untrained", "--data", own, "--data2", shared, "--reference", self.reference]
        options += ["--work", self.work / "embedded", "--output", self.figures]
        call(["benchmarks/encoder.py", "--model", self.run, *options])

    def write_card(self) -> None:
        """Write the model card."""
        from aam.report.model_card import write_card

        counts = open_store(self.corpus).manifest
        figures: dict[str, Any] = json.loads(self.figures.read_text()) if self.figures.is_file() else {}
        self.card.mkdir(parents=True, exist_ok=True)
        tips = json.loads((self.reference / RECORD).read_text())["counts"]["tips"]
        write_card(self.run, card_facts(self.name, counts, tips, figures), self.card, self.name)

    def ship(self) -> None:
        """Put encoder, card and reference into the package."""
        card: list[str | Path] = ["--card", self.card / "card.json", "--card-text", self.card / "card.md"]
        call(["scripts/ship_encoder.py", self.run, "--name", self.name, "--reference", self.reference, "--full", *card])

    def complete(self, wanted: Sequence[str]) -> None:
        """Complete these stages; the inputs of each are its settings and the results of those before it."""
        if "reference" in wanted and self.given_reference is None:
            inputs = {"archive": recipe.ARCHIVE_SHA256}
            Stage("reference", self.reference, self.reference / "placer.json", inputs, self.make_reference).complete()
        made = {"reference": self.reference / RECORD}
        if "asvs" in wanted and self.given_asvs is None:
            inputs = options_of("asvs", recipe.ASVS) | digests(made)
            Stage("asvs", self.asvs, self.asvs / METRICS, inputs, self.learn_asvs).complete()
        made["asvs"] = self.asvs / LAST
        if "corpus" in wanted:
            inputs = options_of("corpus", recipe.PREPARE) | digests_of(self.studies)
            Stage("corpus", self.corpus, self.corpus / "manifest.json", inputs, self.make_corpus).complete()
        made["corpus"] = self.corpus / "manifest.json"
        if "samples" in wanted:
            inputs = options_of("samples", recipe.SAMPLES) | digests(made)
            Stage("samples", self.run, self.run / METRICS, inputs, self.learn_samples).complete()
        made["samples"] = self.run / WEIGHTS
        if "figures" in wanted and self.given_figures is None:
            code = {path.name: path for path in sorted((ROOT / "benchmarks").glob("encoder*.py"))}
            Stage("figures", self.figures.parent, self.figures, digests(made | code), self.measure).complete()
        if "card" in wanted:
            code = {path.name: path for path in sorted((ROOT / "scripts").glob("encoder_*"))}
            inputs = digests(made | code | ({"figures": self.figures} if self.figures.is_file() else {}))
            Stage("card", self.card, self.card / "card.json", inputs, self.write_card).complete()
        if "ship" in wanted:
            self.ship()


def pretrain(options: Sequence[str | Path], run: Path) -> None:
    """Run `aam pretrain` into a folder, or go on in it; a run that stopped before its first checkpoint begins anew."""
    again = ["--resume"] if (run / "last").exists() else []
    if not again:
        shutil.rmtree(run, ignore_errors=True)
    aam("pretrain", *options, "--output-dir", run, *again)


def options_of(stage: str, options: Sequence[str]) -> dict[str, str]:
    """The options of a stage, with its time, as one of its inputs."""
    return {
        "options": " ".join([*options, *(f"{minutes:g}" for name, minutes in recipe.MINUTES.items() if name == stage)])
    }


def download_archive(folder: Path) -> Path:
    """Download the archive of the reference with pip into a folder."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "--dest", str(folder), recipe.ARCHIVE], check=True)
    return next(folder.glob("qiime-default-reference-*.tar.gz"))


def unpack_archive(archive: Path, folder: Path) -> dict[str, Path]:
    """The files of the archive by option of `aam reference`; raises `click.ClickException` for another archive."""
    if digest(archive) != recipe.ARCHIVE_SHA256:
        raise click.ClickException(
            f"{archive}: not the archive of {recipe.ARCHIVE}; expected SHA-256 {recipe.ARCHIVE_SHA256}"
        )
    paths = {}
    with tarfile.open(archive) as tar:
        for option, member in recipe.MEMBERS.items():
            paths[option] = folder / Path(member).name
            if (content := tar.extractfile(member)) is None:
                raise click.ClickException(f"{archive}: {member} is no file")
            paths[option].write_bytes(content.read())
    return paths


def split_folders(folders: Sequence[Path]) -> tuple[Path, Path]:
    """The folder of studies with trees of their own, and that of studies that share one: options of the benchmark."""
    shared = [
        folder for folder in folders if not all(path.with_name(TREE).is_file() for path in folder.glob(f"*/{TABLE}"))
    ]
    own = [folder for folder in folders if folder not in shared]
    if len(own) != 1 or len(shared) != 1:
        raise click.UsageError(
            f"the stage figures needs one folder of --studies with a tree for each study and one with a shared tree, "
            f"found {len(own)} and {len(shared)}; end with --until samples, or give --figures FILE"
        )
    return own[0], shared[0]


def digests_of(studies: Sequence[Source]) -> dict[str, str]:
    """SHA-256 of each table and tree, by name of the study; a tree that is shared is read once."""
    trees = {path: digest(path) for path in {source.tree for source in studies}}
    return {source.name: f"{digest(source.table)} {trees[source.tree]}" for source in studies}


def digests(paths: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of the files that stages before left; raises `click.UsageError` if one is missing."""
    for name, path in paths.items():
        if not path.is_file():
            raise click.UsageError(f"{path} is missing; complete the stage {name} first")
    return {name: digest(path) for name, path in paths.items()}


FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)


@click.command(help=__doc__)
@click.option("--studies", "folders", type=FOLDER, multiple=True, required=True, help="Folder of studies; repeat it.")
@click.option("--leave-out", "left_out", multiple=True, metavar="NAME", help="Study to leave out; repeat it.")
@click.option("--held-out", is_flag=True, help="Leave out the studies that the figures are of.")
@click.option(
    "--work",
    type=click.Path(resolve_path=True, path_type=Path),
    default="make-encoder",
    show_default=True,
    help="Folder of all that is made.",
)
@click.option("--name", default="gg-13-8", show_default=True, help="Name of the encoder.")
@click.option("--reference", "given_reference", type=FOLDER, help="Reference that is there already.")
@click.option("--asvs", "given_asvs", type=FOLDER, help="Run of the stage asvs that is there already.")
@click.option("--archive", type=FILE, help=f"The archive of {recipe.ARCHIVE}, already downloaded.")
@click.option("--figures", "given_figures", type=FILE, help="Figures for the card, of a call with --leave-out.")
@click.option("--threads", default=os.cpu_count() or 1, show_default="one for each core", help="Threads.")
@click.option("--from", "first", type=click.Choice(STAGES), default=STAGES[0], help="First stage.")
@click.option("--until", "last", type=click.Choice(STAGES), default=STAGES[-1], help="Last stage.")
def main(first: str, last: str, left_out: tuple[str, ...], held_out: bool, **options: Any) -> None:
    made = Recipe(left_out=left_out + recipe.TESTED * held_out, **options)
    os.environ.update({"OMP_NUM_THREADS": str(made.threads), "PYTHONPATH": str(ROOT)} | MALLOC)
    try:
        made.complete(STAGES[STAGES.index(first) : STAGES.index(last) + 1])
    except AamError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
