#!/usr/bin/env python3
"""Write docs/commands.md from the command line itself; with --check, only say whether the page is up to date."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from aam.cli import group
from aam.cli.options import group_by_heading

OWN = "Options"
"""Heading of what only this command has."""
PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
HEAD = """\
# Commands

This page is made from the options themselves (`make docs`); `aam COMMAND --help-all`, or `--help` for
commands of few options, shows the same.
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


def row(option: click.Option) -> str:
    """One line of the table of options; the default has a column of its own, also where the help text ends with it."""
    names = ", ".join(f"`{name}`" for name in option.opts + option.secondary_opts)
    text, _, default = " ".join((option.help or "").split()).removesuffix("]").partition(" [default: ")
    default = default or (str(option.default) if option.show_default else "")
    values = f" One of {', '.join(map(str, option.type.choices))}." if isinstance(option.type, click.Choice) else ""
    note = " Required." if option.required else values
    return f"| {names} | {default and f'`{default}`'} | {(text + note).replace('|', '/')} |"


def prose(text: str) -> str:
    """Help text as Markdown: paragraphs that click is told not to wrap become code."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        "```\n" + part.removeprefix("\b\n") + "\n```" if part.startswith("\b") else part for part in paragraphs
    )


def rows_of(command: click.Command, context: click.Context) -> dict[str, list[str]]:
    """Heading -> lines of the table of its options."""
    return {
        heading: [row(option) for option in options if option in command.params and not option.hidden]
        for heading, options in group_by_heading(command, context).items()
    }


def less_than_of_pretrain(shown: dict[str, list[str]]) -> list[str] | None:
    """The options of `aam pretrain` that a command lacks which has the others, but for its own; None for others."""
    pretrain = group.get_command(click.Context(group), "pretrain")
    assert pretrain is not None
    all_of = rows_of(pretrain, click.Context(pretrain))
    whole = {line for heading, rows in all_of.items() if heading != OWN for line in rows}
    own = {line for heading, rows in shown.items() if heading != OWN for line in rows}
    return sorted(line.split(" | ")[0].lstrip("| ") for line in whole - own) if own and own < whole else None


def section(command: click.Command, context: click.Context) -> str:
    """One command: what it does, how it is called, its options."""
    pieces = command.collect_usage_pieces(context)
    lines = [f"## {context.command_path}", "", prose(command.help or "")]
    lines += ["", "```", f"{context.command_path} {' '.join(pieces)}", "```"]
    shown = rows_of(command, context)
    if (missing := less_than_of_pretrain(shown)) is not None:
        headings = ", ".join(heading for heading in shown if heading != OWN)
        lines += ["", f"Under {headings}: the options of `aam pretrain`, less {', '.join(missing)}."]
        shown = {OWN: shown[OWN]}
    for heading, rows in shown.items():
        lines += ["", f"**{heading}**"] if len(shown) > 1 else []
        lines += ["", "| option | default | |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--check", is_flag=True, help="Exit with 1 where the page differs, and show how.")
def main(check: bool) -> None:
    """Write the page of commands."""
    context = click.Context(group, info_name="aam")
    text = "\n".join([HEAD, *(section(*found) for found in commands(group, context))])
    if not check:
        PAGE.write_text(text)
        return
    current = PAGE.read_text() if PAGE.exists() else ""
    if current != text:
        changed = difflib.unified_diff(current.splitlines(), text.splitlines(), "the page", "the options", lineterm="")
        hint = "docs/commands.md is not up to date; run scripts/make_command_page.py"
        raise click.ClickException("\n".join([hint, *changed]))


if __name__ == "__main__":
    main()
