"""Encoders that come with the package: for each a checkpoint folder, with its card and the reference it places on.

Terms and sources stand in `reference/ATTRIBUTION.md` of each.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["CARD", "DEFAULT", "REFERENCE", "remedy_for", "shipped_models", "shipped_name"]

HOME = Path(__file__).parent
DEFAULT = "gg-13-8"
"""Name of the encoder, and of the reference, that are used where none is named."""
REFERENCE = "reference"
"""Folder of the reference in that of a model."""
CARD = "card.json"
"""File of a model's folder: what it was trained on, and its figures."""
REINSTALL = "install aam again: pip install --force-reinstall --no-deps, and the clone or wheel that it came from"


def shipped_models() -> dict[str, Path]:
    """The folder of each encoder, by name."""
    return {path.name: path for path in sorted(HOME.iterdir()) if (path / REFERENCE).is_dir()}


def shipped_name(folder: Path) -> str | None:
    """The name of the shipped encoder that a folder belongs to, as its own or as its reference; None for others."""
    inside = folder.absolute()
    return inside.relative_to(HOME).parts[0] if inside != HOME and inside.is_relative_to(HOME) else None


def remedy_for(folder: Path, usual: str) -> str:
    """What to do about damaged files of a folder: `usual`, or for what comes with the package to install it again."""
    return usual if shipped_name(folder) is None else REINSTALL
