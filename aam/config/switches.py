"""Environment aliases of the debug switches of `HealthConfig`.

`AAM_NAN_DEBUG=1` is `nan_debug: true` of the configuration, and so on for every switch. The environment overrides the
configuration, and both are recorded. A variable that is near one of those that are read is refused, because a misspelt
switch would silently do nothing; other `AAM_*` variables are a site's own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from aam.config import HealthConfig
from aam.errors import ConfigError
from aam.text import quote

SWITCHES = {
    f"AAM_{field.name.upper()}": field.name for field in fields(HealthConfig) if isinstance(field.default, bool)
}
# Variables of the same prefix that are no switches: the folder of a reference, that of the user's models, and where the
# tests find real studies.
OTHER_VARIABLES = frozenset({"AAM_MODELS", "AAM_REFERENCE", "AAM_TEST_DATA"})
SWITCH_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


PREFIX = "AAM_"
NEAR, MOST_LETTERS = 0.75, 3
"""Likeness of two names without `AAM_` and difference of their lengths, within which one is taken for a slip."""


@dataclass(frozen=True)
class Switches:
    """The health settings in force, and which of them came from the environment."""

    config: HealthConfig
    from_environment: dict[str, str]  # variable -> its text
    ignored: tuple[str, ...] = ()  # variables that are none of ours

    def record(self) -> dict[str, dict[str, object]]:
        """For the manifest: {switch: {"value": bool, "source": "config" or "AAM_…=text"}}."""
        sources = {SWITCHES[name]: f"{name}={text}" for name, text in self.from_environment.items()}
        return {
            field: {"value": getattr(self.config, field), "source": sources.get(field, "config")}
            for field in SWITCHES.values()
        }

    def notes(self, asked: HealthConfig) -> list[str]:
        """One line for each switch for which the environment overrode the configuration `asked`."""
        return [
            f"{name}={text} overrides {SWITCHES[name]}={getattr(asked, SWITCHES[name])} of the configuration"
            for name, text in self.from_environment.items()
            if getattr(self.config, SWITCHES[name]) != getattr(asked, SWITCHES[name])
        ]


def read_switches(environment: Mapping[str, str], config: HealthConfig) -> Switches:
    """The configuration with the `AAM_*` switches of the environment applied.

    Raises `ConfigError` for a value that is not one of 1, 0, true, false, yes, no, on, off, and for a name that is
    nearly one of those that are read.
    """
    found = {name: text for name, text in sorted(environment.items()) if name.startswith(PREFIX)}
    values: dict[str, Any] = {}
    ignored = []
    for name, text in found.items():
        if name in SWITCHES and text.strip().lower() not in SWITCH_WORDS:
            raise ConfigError(
                f"environment variable {name}={quote(text)} is neither on nor off; set it to 1 or 0, or unset it"
            )
        if name in SWITCHES:
            values[SWITCHES[name]] = SWITCH_WORDS[text.strip().lower()]
        elif (near := nearest_variable(name)) is not None:
            raise ConfigError(
                f"unknown environment variable {name}; did you mean {near!r}? correct it, unset it, or, if it is not "
                "meant for aam, rename it"
            )
        elif name not in OTHER_VARIABLES:
            ignored.append(name)
    own = {name: text for name, text in found.items() if name in SWITCHES}
    return Switches(replace(config, **values), own, tuple(ignored))


def nearest_variable(name: str) -> str | None:
    """The variable that a name is a slip of; None for one that is read, and for one that is like none.

    A slip has letters wrong, words in another order, or a part of the words of a switch, but at least two.
    """
    known = [*SWITCHES, *OTHER_VARIABLES]
    if name in known:
        return None
    parts = set(name.upper().split("_")[1:])
    for other in SWITCHES:
        words = set(other.split("_")[1:])
        if parts == words or (len(parts) > 1 and parts < words):
            return other
    alike = [other for other in known if abs(len(other) - len(name)) <= MOST_LETTERS]
    own = {other.removeprefix(PREFIX): other for other in alike}
    close = difflib.get_close_matches(name.removeprefix(PREFIX), own, n=1, cutoff=NEAR)
    return own[close[0]] if close else None
