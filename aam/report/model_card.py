"""The model card: what a model was trained on, how, and how good it is; as data (`card.json`) and a page (`card.md`).

What a run knows itself is read from its files. What it cannot know, such as licences, is stated in `CardFacts`; what
nobody stated is not on the card.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aam
from aam.atomic import write_json, write_text
from aam.checkpoint import find_members
from aam.config import (
    FinetuneConfig,
    PretrainConfig,
    RunnableConfig,
    from_options,
    group_classes,
    is_clades,
    option_fields,
    option_flag,
    to_dict,
)
from aam.encoders import CARD
from aam.errors import CheckpointError
from aam.gene.regions import begin_text, region_text
from aam.io.files import read_json_file
from aam.report.card_page import card_page
from aam.report.record import RunRecord
from aam.stored import KIND_OF, MODEL, read_stored
from aam.training.manifest import find_run_folder

PAGE, ATTRIBUTION = "card.md", "ATTRIBUTION.md"
CARD_FORMAT = 1
"""Counts up when older code can no longer read a card."""
NOT_OF_A_CARD = ("output_dir", "resume", "dry_run")
"""Options that say nothing about a model."""


@dataclass(frozen=True)
class DataSource:
    """Data that a model was trained on, e.g. `counts` "99,322 sequences" and `source` an address."""

    name: str
    licence: str
    counts: str
    source: str = ""


@dataclass(frozen=True)
class Figure:
    """A measured value and the command that gave it; those of one `title` are one table."""

    what: str
    value: str
    command: str
    title: str = ""
    others: str = ""
    """The same of other methods."""


@dataclass(frozen=True)
class CardFacts:
    """What the files of a run do not tell; what is empty is not stated on the card."""

    name: str = ""
    licence: str = ""
    attribution: str = ""
    data: tuple[DataSource, ...] = ()
    strengths: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


NO_FACTS = CardFacts()


def write_card(run: Path, facts: CardFacts, folder: Path, model: str = "") -> dict[str, Any]:
    """Write `card.json` and `card.md` of a run, or of a saved model, into a folder, and return the data of the card.

    `model` is what the page tells users to give as --model (default: the name of the model).
    """
    card = card_of(run, facts)
    write_json(folder / CARD, card)
    write_text(folder / PAGE, card_page(card, model or card["name"]))
    return card


def read_card(folder: Path) -> dict[str, Any]:
    """The data of a card; empty for a folder without one. Raises CheckpointError for a damaged or a newer card."""
    path = folder / CARD
    if not path.is_file():
        return {}
    card = read_json_file(path, dict, CheckpointError, "restore it, or remove it")
    if card.get("format") != CARD_FORMAT:
        found = card.get("format")
        raise CheckpointError(f"{path}: format {found!r}, expected {CARD_FORMAT}: of another version; update aam")
    return card


def card_of(run: Path, facts: CardFacts) -> dict[str, Any]:
    """The data of a card from the files of a run, or from the card of a saved model, and what else is stated."""
    stated = {name: value for name, value in dataclasses.asdict(facts).items() if value}
    if card := read_card(run):
        return card | stated
    stored = read_stored(find_members(run)[0])
    config, record = stored.config, RunRecord.read(run_folder(run))
    metrics, manifest = record.metrics, record.manifest
    parameters = manifest.get("parameters") or sum(tensor.numel() for tensor in stored.tensors(MODEL).values())
    training = {
        "command": command_text(config), "steps": metrics.get("steps"), "seconds": metrics.get("seconds"),
        "started": manifest.get("started"), "seed": config.run.seed, "versions": manifest.get("versions", {}),
    }  # fmt: skip
    return {
        "format": CARD_FORMAT, "aam": aam.__version__, "kind": KIND_OF[type(config)], **dataclasses.asdict(NO_FACTS),
        "name": record.name, "region": region_of(config),
        "parameters": parameters, "model": to_dict(config.model), "reads": list(reads_of(config)),
        "predicts": predicted(config), "on_clades": is_clades(config),
        "models": len(find_members(run)), "files": files_of(manifest),
        "reference": reference_of(config),
        **{name: manifest[name] for name in ("samples", "asvs", "rarefy_depth") if name in manifest},
        "training": {name: value for name, value in training.items() if value is not None},
        "metrics": {name: value for name, value in metrics.items() if isinstance(value, int | float | str)},
        **inherited(config), **stated,
    }  # fmt: skip


def run_folder(model: Path) -> Path:
    """The run directory of a checkpoint; where there is none, the folder itself."""
    try:
        return find_run_folder(model)
    except CheckpointError:
        return model


def region_of(config: RunnableConfig) -> str:
    """The regions of the gene that a model has learned; empty where it is not known."""
    if isinstance(config, PretrainConfig) and config.tips.windows == "random":
        return "any window of the gene"
    return ", ".join(dict.fromkeys(reads["region"] for reads in reads_of(config)))


def reads_of(config: RunnableConfig) -> Iterator[dict[str, Any]]:
    """Where on the gene the reads of each table of training begin, how long they are, and what nearly all cover."""
    for reads in config.data.reads:
        region = region_text(reads.start, reads.start + reads.length - 1) if reads.length else "no common window"
        yield {"region": region, "begin": begin_text(reads.begin), "bases": reads.bases}


def reference_of(config: RunnableConfig) -> dict[str, str]:
    """Name and attribution (a text in its folder) of the reference phylogeny of training, empty without one."""
    folder = config.tips.reference if isinstance(config, PretrainConfig) else None
    if folder is None:
        return {}
    text = folder / ATTRIBUTION
    return {"name": folder.name, "attribution": text.read_text(encoding="utf-8") if text.is_file() else ""}


def predicted(config: RunnableConfig) -> list[str]:
    """The metadata columns that a model of `aam train` predicts."""
    return list(config.target.target) if isinstance(config, FinetuneConfig) else []


def files_of(manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Name (without its folder, which is private) and SHA-256 of each input file of a run."""
    files = manifest.get("data", {})
    return {name: {"file": Path(at["path"]).name, "sha256": at["sha256"]} for name, at in files.items()}


def inherited(config: RunnableConfig) -> dict[str, str]:
    """Licence and attribution of the model that training started from, which hold for what was made of it."""
    start = config.head.pretrained if isinstance(config, FinetuneConfig) else config.start.pretrained
    card = {} if start is None else read_card(start)
    return {name: card[name] for name in ("licence", "attribution") if card.get(name)}


def command_text(config: RunnableConfig) -> str:
    """The command with all options that differ from the defaults; of a path its last part alone."""
    finetuned, preset = isinstance(config, FinetuneConfig), {"preset": config.run.preset}
    defaults = from_options(FinetuneConfig, preset) if finetuned else from_options(PretrainConfig, preset)
    words = ["aam", "train" if finetuned else "pretrain"]
    for part, group in group_classes(type(config)).items():
        for name in option_fields(group):
            value, usual = (getattr(getattr(each, part), name) for each in (config, defaults))
            if (value != usual or name == "preset") and name not in NOT_OF_A_CARD:
                words += option_words(name, value)
    return " ".join(words)


def option_words(name: str, value: Any) -> list[str]:
    """An option as words of a command line; a list is one option for each of its values."""
    if isinstance(value, bool):
        return [option_flag(name) if value else f"--no-{name.replace('_', '-')}"]
    values = value if isinstance(value, tuple) else (value,)
    texts = [each.name if isinstance(each, Path) else str(each) for each in values]
    return [word for text in texts for word in (option_flag(name), shlex.quote(text))]
