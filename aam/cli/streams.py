"""Standard streams that last: a terminal or a pipe that goes away costs what would have been printed, not the run."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GONE = (errno.EPIPE, errno.EBADF, errno.EIO, errno.ENXIO)
"""Errors of a stream whose reader has gone: `| head`, a terminal that was closed."""


class LastingFile(io.FileIO):
    """A file descriptor of this process; after the first error of writing to it, `failed`, nothing more is written."""

    failed: OSError | None = None

    def write(self, content: ReadableBuffer, /) -> int:
        if self.failed is None:
            try:
                return super().write(content) or 0
            except OSError as error:
                self.failed = error
        return len(memoryview(content).cast("B"))

    def lost(self) -> int | None:
        """Number of the error for which output was lost that somebody still waits for, as on a full disk."""
        return None if self.failed is None or self.failed.errno in GONE else self.failed.errno


@contextmanager
def lasting_streams() -> Iterator[LastingFile | None]:
    """Make stdout and stderr of the process last in this block; yields the file behind stdout.

    Characters that they cannot encode are escaped. Descriptors 0 to 2 that are closed are opened to nowhere: else the
    next file that is opened gets their number, and what a library prints is written into it. Streams that a program,
    such as a test, has put in place of those of the process stay, and None is yielded.
    """
    fill_descriptors()
    before = sys.stdout, sys.stderr
    files = [LastingFile(number, "w", closefd=False) for number in (1, 2)]
    own = [stream is original for stream, original in zip(before, (sys.__stdout__, sys.__stderr__), strict=True)]
    if own[0]:
        sys.stdout = text_of(files[0], before[0])
    if own[1]:
        sys.stderr = text_of(files[1], before[1])
    try:
        yield files[0] if own[0] else None
    finally:
        for stream, old in zip((sys.stdout, sys.stderr), before, strict=True):
            if stream is not old and stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def text_of(file: LastingFile, like: TextIO | None) -> TextIO:
    """A text stream over a file, written line by line, with the encoding of another one, which is None if closed."""
    encoding = "utf-8" if like is None else like.encoding
    return io.TextIOWrapper(
        io.BufferedWriter(cast(io.RawIOBase, file)), encoding, "backslashreplace", line_buffering=True
    )


def fill_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed to nowhere."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
