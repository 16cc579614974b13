"""Stages of a recipe: each is skipped where its result is there and was made from the same inputs.

A stage notes in `WORK/NAME.stage.json` what it is made from, before it starts, and at its end the SHA-256 of its
result. Stopped, it goes on if its inputs are unchanged; with other inputs its folder is made anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from aam.atomic import read_json, write_json
from aam.io.files import digest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Stage:
    """One stage: `run` leaves `result`, the file that is written last, in `folder`; `inputs` say what it depends on."""

    name: str
    folder: Path
    result: Path
    inputs: Mapping[str, str]
    run: Callable[[], None]

    @property
    def note(self) -> Path:
        """The file that tells what the stage was made from."""
        return self.folder.parent / f"{self.name}.stage.json"

    def complete(self) -> str:
        """Make the result, if it is not there; returns its SHA-256. Raises `click.ClickException` without a result."""
        found = read_json(self.note) if self.note.is_file() else {}
        same = found.get("inputs") == dict(self.inputs)
        if same and self.result.is_file() and found.get("result") == digest(self.result):
            click.echo(f"{self.name}: there already, {self.result}")
            return str(found["result"])
        if not same and self.folder.exists():
            changed = sorted(
                key
                for key in {*self.inputs, *found.get("inputs", {})}
                if self.inputs.get(key) != found.get("inputs", {}).get(key)
            )
            click.echo(f"{self.name}: {self.folder} is made anew, since these inputs changed: {', '.join(changed)}")
            shutil.rmtree(self.folder)
        started = time.monotonic()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.note, {"inputs": dict(self.inputs)})
        self.run()
        if not self.result.is_file():
            raise click.ClickException(f"{self.name}: {self.result} was not written")
        seconds, result = time.monotonic() - started, digest(self.result)
        write_json(self.note, {"inputs": dict(self.inputs), "result": result, "seconds": round(seconds)})
        click.echo(f"{self.name}: {self.result} ({seconds:.0f} s)")
        return result


def call(command: Sequence[str | Path]) -> None:
    """Run a Python command in the root of the repository; raises `click.ClickException` if it fails."""
    words = [str(word) for word in command]
    click.echo(f"$ python {' '.join(words)}")
    code = subprocess.run([sys.executable, *words], cwd=ROOT).returncode
    if code:
        raise click.ClickException(
            f"stopped with exit code {code}: {' '.join(words[:4])} …; mend it and repeat the command"
        )


def aam(*words: str | Path) -> None:
    """Run a command of aam."""
    call(["-m", "aam", *words])
