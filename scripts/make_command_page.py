#!/usr/bin/env python3
"""Write docs/commands.md from the command line itself; with --check, only say whether the page is up to date."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from aam.cli import main as aam

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
HEAD = """\
# Commands

This page is made from the options themselves (`make docs`); `aam COMMAND --help` shows the same.
"""


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """The leaf commands below a command, in the order of its help."""
    if not isinstance(command, click.Group):
        yield command, context
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child is not None and not child.hidden:
            yield from commands(child, click.Context(child, info_name=name, parent=context))


def shown(value: Any) -> str:
    """A default as it would be typed; nothing for options without one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        return ""
    return f"`{value}`"


def row(option: click.Option, context: click.Context) -> str:
    """One line of the table of options."""
    names = ", ".join(f"`{name}`" for name in option.opts + option.secondary_opts)
    kind = option.type
    values = ", ".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else ""
    text = " ".join((option.help or "").split())
    note = " Required." if option.required else f" One of {values}." if values else ""
    return f"| {names} | {shown(option.get_default(context, call=False))} | {(text + note).strip().replace('|', '/')} |"


def section(command: click.Command, context: click.Context) -> str:
    """One command: what it does, how it is called, its options."""
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    pieces = command.collect_usage_pieces(context)
    lines = [f"## {context.command_path}", "", inspect.cleandoc(command.help or "").replace("\b\n", "").split("\f")[0]]
    lines += ["", "```", f"{context.command_path} {' '.join(pieces)}", "```", ""]
    lines += ["| option | default | |", "|---|---|---|", *(row(option, context) for option in options)]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--check", is_flag=True, help="Exit with 1 where the page differs, and show how.")
def main(check: bool) -> None:
    """Write the page of commands."""
    context = click.Context(aam, info_name="aam")
    text = "\n".join([HEAD, *(section(*found) for found in commands(aam, context))])
    if not check:
        PAGE.write_text(text)
        return
    current = PAGE.read_text() if PAGE.exists() else ""
    if current != text:
        difference = difflib.unified_diff(
            current.splitlines(), text.splitlines(), str(PAGE), "the options", lineterm=""
        )
        raise click.ClickException("docs/commands.md is not up to date; run `make docs`\n" + "\n".join(difference))


if __name__ == "__main__":
    main()
