"""Environment aliases of the debug switches of `HealthConfig`.

`AAM_NAN_DEBUG=1` is `nan_debug: true` of the configuration, and so on for every switch. The environment overrides the
configuration, and both are recorded. Any other `AAM_*` variable is refused, because a misspelt switch would silently do
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from aam.config import HealthConfig, suggest
from aam.errors import ConfigError

SWITCHES = {
    f"AAM_{field.name.upper()}": field.name for field in fields(HealthConfig) if isinstance(field.default, bool)
}
# Variables of the same prefix that are no switches: the folder of a reference, that of the user's models, and where the
# tests find real studies.
OTHER_VARIABLES = frozenset({"AAM_MODELS", "AAM_REFERENCE", "AAM_TEST_DATA"})
SWITCH_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Switches:
    """The health settings in force, and which of them came from the environment."""

    config: HealthConfig
    from_environment: dict[str, str]  # variable -> its text

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

    Raises `ConfigError` for a value that is not one of 1, 0, true, false, yes, no, on, off, and for an unknown name.
    """
    found = {name: text for name, text in sorted(environment.items()) if name.startswith("AAM_")}
    values: dict[str, Any] = {}
    for name, text in list(found.items()):
        if name in OTHER_VARIABLES:
            del found[name]
            continue
        if name not in SWITCHES:
            hint = suggest(name, SWITCHES) or f"; known switches: {', '.join(SWITCHES)}"
            raise ConfigError(f"unknown environment variable {name}{hint}; correct or unset it")
        if text.strip().lower() not in SWITCH_WORDS:
            raise ConfigError(
                f"environment variable {name}={text!r} is neither on nor off; set it to 1 or 0, or unset it"
            )
        values[SWITCHES[name]] = SWITCH_WORDS[text.strip().lower()]
    return Switches(replace(config, **values), found)
