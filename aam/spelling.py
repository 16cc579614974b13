"""What a text is however it is spelled: the number that it is, and names that look alike to a reader."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from decimal import Context, Decimal

NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
WHOLE = re.compile(r"[-+]?[0-9]{1,4000}")
LONGEST_NUMBER = 60
"""Characters of a text that is compared as a number."""
EXACT = Context(prec=LONGEST_NUMBER)
_LATIN = str.maketrans(
    # Letters of Greek and Cyrillic that most fonts draw as Latin ones, then marks of one meaning.
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορτυχАВЕЅІЈКМНОРСТУХаеѕіјһкорсухԁ" + "’‘‛`´“”„«»‐‑‒–—−⁻",
    "ABEZHIKMNOPTYXaiKvoptuxABESIJKMHOPCTYXaesijhKopcyxd" + "'''''\"\"\"\"\"-------",
)
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What shows nothing and is no format character: fillers and variation selectors."""


def number_of(text: str) -> float:
    """The number that a text is, as in `-1.5e3`; NaN for any other text.

    The one rule for tables, options and files: ASCII digits, a point, no separators. Python alone would read digits of
    all scripts, `1_000`, `inf` and `nan`.
    """
    text = text.strip(" \t\r\n")
    return float(text) if NUMBER.fullmatch(text) else math.nan


def whole_of(text: str) -> int | None:
    """The whole number that a text is, by the rule of `number_of`; None for any other text."""
    text = text.strip(" \t\r\n")
    return int(text) if WHOLE.fullmatch(text) else None


def plain_number(text: str) -> float:
    """The number that a reader may take a text for that is none by `number_of`; NaN if there is none.

    Digits of other scripts, a minus that is none of ASCII, blanks and apostrophes between digits, decimal commas.
    """
    text = re.sub("[ _]", "", look_of(text))
    if re.fullmatch(r"[-+]?[0-9]{1,3}(,[0-9]{3}){2,}(\.[0-9]*)?", text):
        return number_of(text.replace(",", ""))
    return number_of(text.replace(",", ".").replace("\u066b", "."))


def look_of(text: str) -> str:
    """What names that look alike have in common.

    Capitals, blanks, quotes, invisible characters, composed and decomposed letters, wide and narrow forms, Greek and
    Cyrillic letters that are drawn as Latin ones, and the digits in which a number is written make no difference.
    """
    while (look := _plainer(text)) != text:  # a small letter may be drawn as a Latin one where its capital is not
        text = look
    return look


def _plainer(text: str) -> str:
    """One pass of `look_of`."""
    shown = (sign for sign in text if unicodedata.category(sign) not in ("Cf", "Cc") or sign.isspace())
    plain = unicodedata.normalize("NFKC", _UNSEEN.sub("", "".join(shown))).translate(_LATIN)
    plain = "".join(str(unicodedata.decimal(sign, sign)) for sign in plain if sign not in "'\"")
    plain = " ".join(plain.casefold().split())
    if len(plain) > LONGEST_NUMBER or not NUMBER.fullmatch(plain):
        return unicodedata.normalize("NFKC", plain)
    try:
        return str(EXACT.add(Decimal(plain), Decimal(0)).normalize(EXACT))  # 0 is -0
    except ArithmeticError:  # an exponent of many digits
        return plain


def look_alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that look alike, each in the given order."""
    groups = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[look_of(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def alike_strangers(ours: Sequence[str], theirs: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of one of our names and one of theirs, which the others do not have, that look alike."""
    lonely = set(theirs).difference(ours)
    looks = {look_of(name): name for name in sorted(lonely, reverse=True)}
    unmatched = [name for name in ours if name not in theirs] if lonely else []
    return [(name, looks[look]) for name in unmatched if (look := look_of(name)) in looks]


def tell_apart(names: Sequence[str]) -> list[str]:
    """Names that look alike as a message shows them: quoted, with the characters that the others do not have."""
    shown = []
    for name in names:
        others = {sign for other in names if other != name for sign in other}
        own = [sign for sign in dict.fromkeys(name) if sign not in others and ord(sign) > 126]
        codes = ", ".join(f"U+{ord(sign):04X}" for sign in own[:3])
        shown.append(f"{name[:40]!r} ({codes})" if codes else f"{name[:40]!r}")
    return shown


def nearest(name: str, known: Iterable[str]) -> str:
    """Text `did you mean …?` with the known name that looks like `name`, else the closest; empty if none is close."""
    known = list(known)
    look = look_of(name)
    alike = next((other for other in known if other != name and look_of(other) == look), None)
    if alike is not None:
        own, other = tell_apart([name, alike])
        codes = f", not {own}" if "U+" in own or "U+" in other else ""
        return f"did you mean {other}{codes}?"
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""
