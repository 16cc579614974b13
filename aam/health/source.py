"""Which line of whose code asked torch for an operation."""

from __future__ import annotations

import linecache
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

import torch

TORCH = str(Path(torch.__file__).parent) + "/"
HERE = str(Path(__file__).parent) + "/"
OWN_FILES = frozenset(HERE + name for name in ("tracing.py", "locator.py", "modules.py"))
GUARDS = frozenset(HERE + name for name in ("stats.py", "guards.py"))
INSTALLED = (sysconfig.get_path("purelib") + "/", sysconfig.get_path("stdlib") + "/")
ENGINE = torch.autograd.graph._engine_run_backward.__code__
MODULE_CALL = torch.nn.Module._call_impl.__code__
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


def spots(backward: bool = False) -> tuple[Spot, ...]:
    """The innermost frame outside torch and, where that one belongs to an installed package, also the caller's own.

    With `backward`, only frames that the autograd engine called: a hook, or a backward pass written in Python; nothing
    where the engine called a kernel of its own. Costs about 2 microseconds.
    """
    frame: FrameType | None = sys._getframe(1)
    found: list[Spot] = []
    while frame is not None:
        code = frame.f_code
        if backward and code is ENGINE:
            break
        if not _skip(code):
            installed = code.co_filename.startswith(INSTALLED)
            if not found or not installed:
                found.append((code, frame.f_lineno))
            if not installed:
                break
        frame = frame.f_back
    return tuple(found)


def running_method(paths: Mapping[int, str]) -> str | None:
    """The module, of those in `paths` by their `id`, one of whose methods runs inside the innermost module call.

    Hooks only see modules that are called; this sees `encoder.embed(x)` as well.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not MODULE_CALL:
        code = frame.f_code
        if code.co_varnames[:1] == ("self",) and not _skip(code) and (path := paths.get(id(frame.f_locals["self"]))):
            return path
        frame = frame.f_back
    return None


def _skip(code: CodeType) -> bool:
    """True for code of torch and of the tracer itself."""
    skip = _skipped.get(code)
    if skip is None:
        skip = _skipped[code] = code.co_filename.startswith((TORCH, "<frozen")) or code.co_filename in OWN_FILES
    return skip


def is_guard(places: tuple[Spot, ...]) -> bool:
    """True where the operation belongs to the statistics of this package, which handle NaN on purpose."""
    return bool(places) and places[0][0].co_filename in GUARDS


def read_lines(places: tuple[Spot, ...]) -> tuple[Line, ...]:
    """The source lines of spots."""
    return tuple(
        Line(code.co_filename, number, code.co_qualname, linecache.getline(code.co_filename, number).strip())
        for code, number in places
    )
