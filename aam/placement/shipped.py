"""Which reference is used: the one that was asked for, that of an environment variable, or the one in the package."""

from __future__ import annotations

import os
from pathlib import Path

from aam.config.fields import SHIPPED
from aam.encoders import DEFAULT, REFERENCE, shipped_models, shipped_name
from aam.observer import Observer
from aam.placement.store import RECORD

VARIABLE = "AAM_REFERENCE"
"""Environment variable with the folder, or the name, of a reference."""


def find_reference(given: Path | None, observer: Observer) -> Path:
    """The folder of the reference to use; says so if it is one that comes with the package.

    `given` is a folder or the name of a shipped one; a folder of that name that holds a reference wins.
    """
    asked = given if given is not None else Path(os.environ.get(VARIABLE) or SHIPPED)
    name = DEFAULT if str(asked) == SHIPPED else str(asked)
    if (asked / RECORD).is_file() or name not in shipped_models():
        return asked
    observer.say(f"reference: {name}, which comes with aam")
    return shipped_models()[name] / REFERENCE


def reference_name(folder: Path) -> str:
    """A reference for messages: its name if it comes with the package, else its folder."""
    return shipped_name(folder) or str(folder)
