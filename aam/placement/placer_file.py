"""What was learned of a reference, in its folder: weights and a record that names the reference they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from aam.atomic import follow_umask, read_json, replace_file, write_json
from aam.encoders import remedy_for
from aam.errors import ReferenceFolderError, error_text
from aam.gene.profile import gene_profile
from aam.io.files import digest
from aam.models.placer import Placer
from aam.models.storage import in_half_size
from aam.placement.learned import LearnedPlacer, Shrink
from aam.placement.store import RECORD

WEIGHTS, ABOUT = "placer.safetensors", "placer.json"
REMEDY = "remove both placer files and run `aam reference` with the same options again, which learns anew"


def round_as_stored(net: Placer) -> None:
    """Round the weights of a network in place to what its file will hold."""
    net.load_state_dict(in_half_size(net.state_dict()))


def write_placer(folder: Path, learned: LearnedPlacer) -> None:
    """Write what was learned into the folder of its reference; the record last."""
    with replace_file(folder / WEIGHTS) as partial:
        save_file(in_half_size(learned.net.state_dict()), partial)
        follow_umask(partial)
    about = {
        "reference": digest(folder / RECORD),
        "weights": digest(folder / WEIGHTS),
        "net": learned.net.sizes,
        "candidates": learned.candidates,
        "shrink": learned.shrink._asdict(),
        "figures": learned.figures,
    }
    write_json(folder / ABOUT, about)


def read_placer(folder: Path) -> LearnedPlacer | None:
    """What was learned of the reference in a folder; None if nothing was.

    Raises `ReferenceFolderError` for files that are damaged or belong to another reference.
    """
    path = folder / ABOUT
    if not path.exists():
        return None
    about = read_about(path)
    for key, name, what in (
        ("reference", RECORD, "was learned from another reference"),
        ("weights", WEIGHTS, "belongs to other weights"),
    ):
        if not (folder / name).exists():
            raise ReferenceFolderError(f"{folder / name} is missing; {remedy_for(folder, REMEDY)}")
        if (found := digest(folder / name)) != about[key]:
            raise ReferenceFolderError(
                f"{path} {what} than {folder / name}: its SHA-256 is {found[:12]}…, expected {str(about[key])[:12]}…; "
                f"{remedy_for(folder, REMEDY)}"
            )
    try:
        net = Placer(gene_profile().last, **about["net"])
        net.load_state_dict(load_file(folder / WEIGHTS))
        shrink = Shrink(**about["shrink"])
        return LearnedPlacer(net.eval(), int(about["candidates"]), shrink, about["figures"])
    except (SafetensorError, RuntimeError, TypeError, ValueError) as fault:
        what = f"{folder / WEIGHTS} does not fit {ABOUT} ({error_text(fault)})"
        raise ReferenceFolderError(f"{what}; {remedy_for(folder, REMEDY)}") from fault


def read_about(path: Path) -> dict[str, Any]:
    """The record beside the weights."""
    try:
        about = read_json(path)
        missing = {"reference", "weights", "net", "candidates", "shrink", "figures"} - about.keys()
    except (OSError, ValueError, AttributeError) as fault:
        raise ReferenceFolderError(
            f"{path} is not readable ({error_text(fault)}); {remedy_for(path, REMEDY)}"
        ) from fault
    if missing:
        raise ReferenceFolderError(f"{path} lacks {', '.join(sorted(missing))}; {remedy_for(path, REMEDY)}")
    return dict(about)
