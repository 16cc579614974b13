#!/usr/bin/env python3
"""Write the card of the encoder that ships into docs/encoder.md; with --check, only say whether it is up to date."""

from __future__ import annotations

import re
from pathlib import Path

import click

from aam.encoders import DEFAULT, shipped_models
from aam.report.card_page import about, sections
from aam.report.model_card import read_card

PAGE = Path(__file__).parents[1] / "docs" / "encoder.md"
MARK = "<!-- What follows is of aam/encoders/gg-13-8/card.json: scripts/make_encoder_page.py writes it. -->\n"
NONE = "## The card\n\nThis version of the encoder is a stand-in of a minute of training, without a card."


def card_text(folder: Path) -> str:
    """The sections of the card of a model, for the page."""
    card = read_card(folder)
    if not card:
        return NONE + "\n"
    size, *_ = list(about(card, DEFAULT))[1:]
    return "\n\n".join(["## Size", size, *map(below_title, sections(card))]) + "\n"


def below_title(section: str) -> str:
    """A section whose own text has titles, two levels lower so that they stand below that of the section."""
    title, line, body = section.partition("\n")
    return title + line + re.sub(r"^(#+ )", r"##\1", body, flags=re.MULTILINE)


@click.command()
@click.option("--check", is_flag=True, help="Exit with 1 where the page differs.")
def main(check: bool) -> None:
    """Write the page of the encoder."""
    before, mark, after = PAGE.read_text(encoding="utf-8").partition(MARK)
    if not mark:
        raise click.ClickException(f"{PAGE} has no line {MARK.strip()}")
    text = "\n" + card_text(shipped_models()[DEFAULT])
    if check and after != text:
        raise click.ClickException("docs/encoder.md is not up to date; run scripts/make_encoder_page.py")
    if not check:
        PAGE.write_text(before + mark + text, encoding="utf-8")


if __name__ == "__main__":
    main()
