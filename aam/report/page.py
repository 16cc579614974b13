"""One HTML file about a run: everything inside it, nothing fetched, readable on screen and on paper.

What every run has stands here; what only one kind of run has is handed in as parts.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

from aam.text import counted, few

DASH = "–"
SCALE = 0.65
"""Pixels of the page for one of a picture, which is drawn with 150 to the inch."""
CSS = """\
:root { --ink: #1b1f24; --soft: #5c6670; --line: #d9dee3; --accent: #0072b2; --paper: #ffffff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink);
  font: 15px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 68rem; margin: 2rem auto; padding: 2.5rem 3rem; background: var(--paper);
  border: 1px solid var(--line); }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.4rem 0 0.7rem; padding-bottom: 0.25rem; border-bottom: 2px solid var(--accent); font-size: 1.15rem; }
header p { margin: 0.3rem 0 0.8rem; color: var(--soft); }
pre { margin: 0.8rem 0; padding: 0.6rem 0.9rem; background: #f4f6f8; font-size: 0.8rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 0.6rem; margin-top: 1rem; }
.tiles div { flex: 1 1 8rem; padding: 0.6rem 0.9rem; border: 1px solid var(--line); color: var(--soft);
  font-size: 0.8rem; }
.tiles b { display: block; color: var(--ink); font-size: 1.3rem; font-variant-numeric: tabular-nums; }
table { width: 100%; margin: 0 0 1rem; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.32rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  overflow-wrap: anywhere; min-width: 3.6rem; }
th { color: var(--soft); font-size: 0.8rem; font-weight: 600; overflow-wrap: normal; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
thead th:empty { padding: 0; border: 0; }
figure { margin: 0.5rem 0 1rem; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { margin-top: 0.4rem; color: var(--soft); font-size: 0.85rem; }
summary { padding: 0.3rem 0; color: var(--accent); cursor: pointer; }
@media (max-width: 40rem) {
  main { margin: 0; padding: 1rem; border: 0; font-size: 13px; }
  th, td { padding: 0.25rem 0.3rem; }
}
@media print {
  body { background: none; font-size: 11px; }
  main { max-width: none; margin: 0; padding: 0; border: 0; }
  figure, table, .tiles { break-inside: avoid; }
  img { max-height: 95vh; object-fit: contain; }
  h2 { break-after: avoid; }
  details:not([open]) { display: none; }
}
"""
SHOWN = 6
"""Ids of one reason that are listed."""
SIZES = {
    "samples_train": "samples to train on",
    "samples_validation": "samples held out",
    "samples_tested": "samples predicted unseen",
    "folds": "folds",
    "asvs": "ASVs",
    "parameters": "parameters",
    "steps": "steps",
}
"""Numbers of manifest and metrics that stand on top, those that the run has."""
MEETING = {
    "table": "samples in the table",
    "metadata": "samples in the metadata",
    "both": "samples in both",
    "matching": "of the kind asked for",
    "labelled": "of these, with a target",
}


class Part(NamedTuple):
    """A titled piece of a report; one whose `body` is empty is left out."""

    title: str
    body: str


def section(part: Part) -> str:
    """A part with its heading, nothing where there is nothing to say."""
    return f"<section>\n<h2>{escape(part.title)}</h2>\n{part.body}\n</section>" if part.body else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of text, the first column left, the others right; nothing where there are no rows."""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>" if body else ""


def text(words: str) -> str:
    """A paragraph, nothing without words."""
    return f"<p>{escape(words)}</p>" if words else ""


def folded(title: str, body: str) -> str:
    """What is shown on a click."""
    return f"<details>\n<summary>{escape(title)}</summary>\n{body}\n</details>" if body else ""


def number(value: Any, form: str) -> str:
    """A number in its format; text stays."""
    return form.format(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def picture(title: str, png: bytes, caption: str = "") -> Part:
    """A PNG that lies in the page, with what stands under it; all have the same scale, so that letters are alike."""
    data, width = base64.b64encode(png).decode("ascii"), int.from_bytes(png[16:20])  # of the header, after its name
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    image = f'<img alt="{escape(title)}" width="{round(SCALE * width)}" src="data:image/png;base64,{data}">'
    return Part(title, f"<figure>{image}{below}</figure>")


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind; what it did not is empty. `notes` say why something is not shown."""

    name: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[Part] = ()
    accounts: Sequence[tuple[str, str, int, int]] = ()
    """Ledger: stage, item, entered, lost."""
    losses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Ledger: reason -> ids."""
    notes: Sequence[str] = ()


def report_html(run: RunRecord) -> str:
    """The page."""
    parts = [
        *run.parts,
        Part("Data", data_tables(run.manifest)),
        Part("Health", health_tables(run)),
        Part("Not shown", "".join(map(text, run.notes))),
        Part("Configuration", configuration(run)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(run.name)}: aam report</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, [heading(run), *map(section, parts)]))
        + "\n</main>\n</body>\n</html>\n"
    )


def heading(run: RunRecord) -> str:
    """Name of the run, when and how it was made, and its size in numbers."""
    manifest, known = run.manifest, {**run.manifest, **run.metrics}
    version = manifest.get("versions", {}).get("aam", "")
    made = f"aam {version}, started {manifest.get('started', 'at an unknown time')}"
    facts = [
        counted(known[name], label).split(" ", 1) for name, label in SIZES.items() if isinstance(known.get(name), int)
    ]
    if "seconds" in known:
        facts.append([f"{known['seconds'] / 60:.1f}", "minutes of training"])
    tiles = "".join(f"<div><b>{value}</b>{label}</div>" for value, label in facts)
    command = " ".join(map(str, manifest.get("command", [])[1:]))
    return (
        f"<header>\n<h1>{escape(run.name)}</h1>\n<p>{escape(made)}</p>\n"
        + (f"<pre>aam {escape(command)}</pre>\n" if command else "")
        + f'<div class="tiles">{tiles}</div>\n</header>'
    )


def data_tables(manifest: Mapping[str, Any]) -> str:
    """Files with their checksums, samples kept, what was dropped and why."""
    files = [(name, str(at["path"]), f"{at['sha256'][:16]}…") for name, at in manifest.get("data", {}).items()]
    overlap, samples = manifest.get("overlap", {}), manifest.get("samples", {})
    rows = [(label, f"{overlap[name]:,}") for name, label in MEETING.items() if name in overlap]
    rows += [(f"{name} samples", f"{count:,}") for name, count in samples.items() if isinstance(count, int)]
    rows += [(f"left out: {reason}", f"{count:,}") for reason, count in manifest.get("dropped", {}).items()]
    if "rarefy_depth" in manifest:
        depth = manifest["rarefy_depth"]
        rows.append(("reads drawn per sample and epoch", "all" if depth is None else f"{depth:,}"))
    return table(["", ""], rows) + table(["file", "path", "SHA-256"], files)


def health_tables(run: RunRecord) -> str:
    """What was done to keep the run alive, the accounts of every stage, and what was lost why."""
    found = run.manifest.get("health", {})
    each = {"": found} if "steps" in found else found
    kept = [
        (
            f"fold {fold}" if fold else "this run",
            f"{record['steps']:,}",
            f"{sum(record['interventions'].values()):,}",
            f"{record['spikes']:,}",
        )
        for fold, record in each.items()
    ]
    accounts = [
        (f"{stage} ({'ASVs' if item == 'asv' else f'{item}s'})", f"{entered:,}", f"{entered - lost:,}", f"{lost:,}")
        for stage, item, entered, lost in run.accounts
    ]
    reasons = [(f"{reason}: {few(ids, SHOWN)}", f"{len(ids):,}") for reason, ids in run.losses.items()]
    return (
        table(["", "steps", "interventions", "spikes"], kept)
        + table(["stage", "entered", "kept", "lost"], accounts)
        + table(["reason", "lost"], reasons)
    )


def configuration(run: RunRecord) -> str:
    """All settings by group and all figures, folded away, and the versions of what computed."""
    groups = {
        group: [(name, DASH if value is None else str(value)) for name, value in values.items()]
        for group, values in run.manifest.get("config", {}).items()
        if isinstance(values, Mapping)
    }
    groups["all figures (metrics.json)"] = [
        (name, number(value, "{:,.6g}")) for name, value in run.metrics.items() if isinstance(value, int | float | str)
    ]
    parts = [folded(group, table(["", ""], rows)) for group, rows in groups.items()]
    versions = ", ".join(f"{name} {version}" for name, version in run.manifest.get("versions", {}).items())
    return "\n".join(filter(None, [*parts, text(versions)]))
