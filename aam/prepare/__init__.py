"""Several tables and their trees into one corpus on disk: a part for each table, then what needs all of them.

A part is written once and noted in the manifest; a run that was stopped goes on after the last part that is noted. What
lies on disk then is described in `aam.prepared`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aam.atomic import sweep
from aam.config import PrepareConfig
from aam.corpus import read_any_tree
from aam.data.folders import alone
from aam.data.store import Store, open_store
from aam.data.store_writer import StoreWriter
from aam.errors import CorpusError
from aam.prepare.finish import finish
from aam.prepare.part import WORKING, add_table, go_on
from aam.prepare.sources import Source, begin, sources_of
from aam.wording import counted

__all__ = ["prepare"]


def prepare(config: PrepareConfig, folder: Path, say: Callable[[str], None]) -> Store:
    """Write the corpus of `config` into `folder`, telling what happens on the way; what is there already stays.

    Raises an `InputError` for whatever does not fit.
    """
    sources = sources_of(config)
    with alone(folder, "--output", CorpusError):
        sweep(folder)
        record = begin(config, sources, folder)
        if record["complete"]:
            say(f"{folder} is complete already")
        else:
            write(config, sources, StoreWriter(folder, record), say)
        for name in WORKING:  # here too where the process that completed the corpus was killed before it came to this
            (folder / f"{name}.npy").unlink(missing_ok=True)
    return open_store(folder)


def write(config: PrepareConfig, sources: list[Source], writer: StoreWriter, say: Callable[[str], None]) -> None:
    """Add the tables whose parts are not there yet, and complete the corpus."""
    tree = read_any_tree(config.tree[0]) if len(config.tree) == 1 < len(sources) else None
    with writer:
        growing = go_on(writer, tree)
        for number, source in enumerate(sources):
            if number < len(writer.parts):
                say(f"{source.name}: written before")
                continue
            part = add_table(growing, source, number, config)
            say(f"{source.name}: {part['samples']:,} samples, {part['asvs']:,} ASVs, {part['new']:,} of them new")
            for reason, count in part["dropped"].items():
                say(f"{source.name}: {counted(count, reason)}")
        finish(growing, sources, say)
