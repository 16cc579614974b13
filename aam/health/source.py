"""Which line of whose code asked torch for an operation."""

from __future__ import annotations

import linecache
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

import torch

TORCH = str(Path(torch.__file__).parent) + "/"
HERE = str(Path(__file__).parent) + "/"
OWN_FILES = frozenset(HERE + name for name in ("tracing.py", "locator.py", "modules.py"))
INSTALLED = (sysconfig.get_path("purelib") + "/", sysconfig.get_path("stdlib") + "/")
_skipped: dict[CodeType, bool] = {}

Spot = tuple[CodeType, int]  # a place in the code, cheap to take for every operation


@dataclass(frozen=True)
class Line:
    """A line of source: file, number, function and its text (empty where the file is gone)."""

    file: str
    number: int
    function: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number} in {self.function}" + (f": {self.text}" if self.text else "")


def spots(depth: int = 2) -> tuple[Spot, ...]:
    """The innermost frame outside torch and, where that one belongs to an installed package, also the caller's own.

    `depth` frames of the tracer itself are skipped. Costs about 2 microseconds.
    """
    frame: FrameType | None = sys._getframe(depth)
    found: list[Spot] = []
    while frame is not None:
        code = frame.f_code
        skip = _skipped.get(code)
        if skip is None:
            skip = _skipped[code] = code.co_filename.startswith((TORCH, "<frozen")) or code.co_filename in OWN_FILES
        if not skip:
            installed = code.co_filename.startswith(INSTALLED)
            if not found or not installed:
                found.append((code, frame.f_lineno))
            if not installed:
                break
        frame = frame.f_back
    return tuple(found)


def read_lines(places: tuple[Spot, ...]) -> tuple[Line, ...]:
    """The source lines of spots."""
    return tuple(
        Line(code.co_filename, number, code.co_qualname, linecache.getline(code.co_filename, number).strip())
        for code, number in places
    )
