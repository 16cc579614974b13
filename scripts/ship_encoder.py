#!/usr/bin/env python3
"""Put the encoder of a run, its card and its reference into aam/encoders/NAME, the way they ship with the package.

Of the checkpoint the folder gets the weights (matrices in bfloat16 unless --full), the configuration without any path,
the hashes of the known ASVs and the scales; not what resumes the run. `ATTRIBUTION.md` of the reference is written by
hand, and has to be there first.

    python scripts/ship_encoder.py RUN --card card.json --card-text card.md
    python scripts/ship_encoder.py RUN --reference FOLDER --name gg-13-8      the reference anew, too
"""

from __future__ import annotations

import dataclasses
import shutil
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from safetensors.torch import save_file

from aam.atomic import follow_umask, read_json, replace_file, write_json, write_text
from aam.checkpoint import Pretrained, find_checkpoint, open_as
from aam.config import PretrainConfig, group_classes, option_fields, to_dict
from aam.encoders import CARD, DEFAULT, HOME, REFERENCE
from aam.errors import AamError, CheckpointError, ReferenceFolderError
from aam.inference.known_asvs import KNOWN
from aam.inference.scales import SCALES
from aam.io.files import digest
from aam.models.storage import in_half_size
from aam.placement.placer_file import read_placer, write_placer
from aam.placement.store import RECORD, open_reference
from aam.stored import CHECKPOINT_FORMAT, CONFIG, KIND_OF, MODEL, read_stored

CARD_TEXT, ATTRIBUTION = "card.md", "ATTRIBUTION.md"
MOST_WEIGHTS, MOST_REFERENCE = 10_000_000, 12_000_000
"""Bytes that weights, and all files of a reference, may have."""


class Card(NamedTuple):
    """What card.json and card.md say of a model."""

    record: Mapping[str, Any]
    text: str


def ship_encoder(run: Path, folder: Path, card: Card | None = None, half: bool = True) -> int:
    """Write the encoder of a run into a folder, which keeps its reference; -> bytes of the weights.

    `half` stores matrices in bfloat16. Raises CheckpointError for a run that is not finished or too large.
    """
    checkpoint = find_checkpoint(run)
    for name in (KNOWN, SCALES):
        if not (checkpoint / name).exists():
            raise CheckpointError(f"{checkpoint} has no {name}, which the end of a run writes; let the run finish")
    model, config = open_as(Pretrained, checkpoint)
    if config.data.unifrac_matrix is not None:  # without its path it would look like a run with a tree
        raise CheckpointError(f"{run} learned from a matrix; ship a run with a tree")
    folder.mkdir(parents=True, exist_ok=True)
    weights = model.state_dict()
    with replace_file(folder / MODEL) as partial:
        save_file(in_half_size(weights) if half else weights, partial)
        follow_umask(partial)
    if (size := (folder / MODEL).stat().st_size) > MOST_WEIGHTS:
        raise CheckpointError(f"{folder / MODEL} has {size:,} bytes, expected at most {MOST_WEIGHTS:,}; use fewer")
    for name in (KNOWN, SCALES):
        shutil.copyfile(checkpoint / name, folder / name)
    digests = {name: digest(folder / name) for name in (MODEL, KNOWN, SCALES)}
    about = {"format": CHECKPOINT_FORMAT, "kind": KIND_OF[PretrainConfig], "sha256": digests}
    write_json(folder / CONFIG, about | to_dict(without_paths(config)))
    if card is not None:
        write_json(folder / CARD, dict(card.record))
        write_text(folder / CARD_TEXT, card.text)
    open_as(Pretrained, folder)
    return size


def without_paths(config: PretrainConfig) -> PretrainConfig:
    """The configuration with the default in place of every path: those of the machine are nobody's business."""
    parts: dict[str, Any] = {}
    for part, group in group_classes(PretrainConfig).items():
        paths = {
            name: field.default
            for name, (field, hint) in option_fields(group).items()
            if hint is Path or Path in typing.get_args(hint)
        }
        parts[part] = dataclasses.replace(getattr(config, part), **paths)
    return PretrainConfig(**parts)


def ship_reference(reference: Path, folder: Path) -> int:
    """Copy a learned reference into the `REFERENCE` of a model's folder, its placer in half size; -> bytes of all."""
    target = folder / REFERENCE
    open_reference(reference)
    learned, record = read_placer(reference), read_json(reference / RECORD)
    if learned is None:
        raise ReferenceFolderError(f"{reference} has learned nothing about placing; run `aam reference` to its end")
    target.mkdir(parents=True, exist_ok=True)
    for name in (RECORD, *record["files"]):
        shutil.copyfile(reference / name, target / name)
        if name in record["files"] and digest(target / name) != record["files"][name]["sha256"]:
            raise ReferenceFolderError(f"{reference / name} is not the file that {RECORD} lists; make it again")
    write_placer(target, learned)
    if not (target / ATTRIBUTION).is_file():
        raise ReferenceFolderError(f"{target / ATTRIBUTION} is missing; write whose reference it is, and its licence")
    size = sum(path.stat().st_size for path in target.iterdir() if path.is_file())
    if size > MOST_REFERENCE:
        raise ReferenceFolderError(f"{target} has {size:,} bytes, expected at most {MOST_REFERENCE:,}")
    return size


@click.command(help=__doc__)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--name", default=DEFAULT, show_default=True, help="Name of the encoder.")
@click.option("--reference", type=click.Path(path_type=Path), help="Reference to copy (default: keep the one there).")
@click.option("--card", type=click.Path(path_type=Path), help="JSON file of the card.")
@click.option("--card-text", type=click.Path(path_type=Path), help="Markdown file of the card.")
@click.option("--full", is_flag=True, help="Keep the weights in single precision.")
def main(run: Path, name: str, reference: Path | None, card: Path | None, card_text: Path | None, full: bool) -> None:
    folder = HOME / name
    if (card is None) != (card_text is None):
        raise click.UsageError("--card and --card-text belong together")
    try:
        if reference is not None:
            click.echo(f"{folder / REFERENCE}: {ship_reference(reference, folder):,} bytes")
        about = None
        if card is not None and card_text is not None:
            about = Card(read_json(card), card_text.read_text(encoding="utf-8"))
        size = ship_encoder(run, folder, about, half=not full)
        width = read_stored(folder).config.model.dim
        click.echo(f"{folder}: weights of {size:,} bytes, width {width}")
    except AamError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
