"""Option values of a YAML file: names, and texts or lists of texts as written, which their fields then convert.

YAML 1.1 reads `05000` as 2,560, `1:30` as 90, `no` as false and `1.10` as 1.1. Here a value is what is written, and only
the field that it is for decides whether it is a number, a path, true, or text. Events are read one by one, so that no
nesting and no repetition can grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aam.errors import ConfigError
from aam.text import one_line, quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaml import Event

NULLS = ("", "~", "null", "Null", "NULL")
"""Values, not in quotes, that stand for none."""
EXAMPLE = "expected lines like 'token_limit: 512'"
MOST_VALUES = 100_000
"""Values of one list."""


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """Option values of a YAML text, by name with underscores: texts, None, or lists of them.

    Raises ConfigError, which begins with `name` and says the line, for what is no mapping of options to such values:
    keys given twice, nested values, tags, anchors, several documents, and text that is not YAML.
    """
    import yaml

    try:
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        found = read_mapping(events, name)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                raise ConfigError(f"{at(event, name)}: a second document begins; expected one, give a file for each")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{name}: not YAML ({one_line(error)}); {EXAMPLE}") from None
    return found


def read_mapping(events: Iterator[Event], name: str) -> dict[str, Any]:
    """The mapping of the first document, up to its end."""
    from yaml import events as kinds

    found: dict[str, Any] = {}
    event = next(event for event in events if not isinstance(event, kinds.StreamStartEvent | kinds.DocumentStartEvent))
    if isinstance(event, kinds.StreamEndEvent) or (isinstance(event, kinds.ScalarEvent) and is_null(event)):
        raise ConfigError(f"{name}: no options in it; {EXAMPLE}")
    if not isinstance(event, kinds.MappingStartEvent):
        raise ConfigError(f"{at(event, name)}: found {kind_of(event)}; {EXAMPLE}")
    refuse_marks(event, name)
    while not isinstance(event := next(events), kinds.MappingEndEvent):
        key = read_text(event, f"{at(event, name)}: the name of an option", name)
        if key is None or key == "<<":
            raise ConfigError(f"{at(event, name)}: found {quote(key or '')} as the name of an option; {EXAMPLE}")
        option = key.replace("-", "_")
        if option in found:
            raise ConfigError(
                f"{at(event, name)}: {quote(key)} is given twice; give it once, a list for several values"
            )
        found[option] = read_value(events, f"{at(event, name)}: {key}", name)
    return found


def read_value(events: Iterator[Event], where: str, name: str) -> str | None | list[str | None]:
    """The next value: text or a list of texts."""
    from yaml import events as kinds

    event = next(events)
    if not isinstance(event, kinds.SequenceStartEvent):
        return read_text(event, where, name)
    refuse_marks(event, name)
    values: list[str | None] = []
    while not isinstance(event := next(events), kinds.SequenceEndEvent):
        values.append(read_text(event, where, name))
        if len(values) > MOST_VALUES:
            raise ConfigError(f"{where} has a list of more than {MOST_VALUES:,} values; give fewer")
    return values


def read_text(event: Event, where: str, name: str) -> str | None:
    """The text of a value as written, None for one that stands for none; `where` names it in a refusal."""
    from yaml import events as kinds

    refuse_marks(event, name)
    if not isinstance(event, kinds.ScalarEvent):
        raise ConfigError(f"{where} is {kind_of(event)}, expected one value, or a list of values")
    return None if is_null(event) else str(event.value)


def is_null(event: Any) -> bool:
    """Whether a value, written without quotes, stands for none."""
    return event.style is None and event.value in NULLS


def refuse_marks(event: Event, name: str) -> None:
    """Raise ConfigError for tags, which make other types of values, and for anchors and references to them."""
    from yaml import events as kinds

    if isinstance(event, kinds.AliasEvent) or getattr(event, "anchor", None):
        mark = f"{'*' if isinstance(event, kinds.AliasEvent) else '&'}{event.anchor}"
        raise ConfigError(
            f"{at(event, name)}: found the mark {quote(mark)}; write the value itself, or put it in quotes"
        )
    if (tag := getattr(event, "tag", None)) not in (None, "!", "tag:yaml.org,2002:str"):
        raise ConfigError(f"{at(event, name)}: found the tag {quote(str(tag))}; write the value without a tag")


def kind_of(event: Event) -> str:
    """What a refused event is, in words."""
    name = type(event).__name__.removesuffix("Event").removesuffix("Start").lower()
    return {"mapping": "keys with values", "sequence": "a list", "scalar": "a single value"}.get(name, name)


def at(event: Event, name: str) -> str:
    """The file and line of an event."""
    return f"{name}, line {event.start_mark.line + 1}"
