"""One HTML file about a run: everything inside it, nothing fetched, readable on screen and on paper.

What every run has stands here; what only one kind of run has is handed in as parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from aam.evaluation.html import DASH, Part, folded, number, section, table, text
from aam.evaluation.report_style import CSS
from aam.wording import counted, few

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
