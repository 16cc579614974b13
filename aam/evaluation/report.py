"""One HTML file about a run: everything inside it, nothing fetched, readable on screen and on paper."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from aam.evaluation.report_style import CSS

SCORES = (("r2", "R²", "{:.3f}"), ("mae", "MAE", "{:.4f}"), ("pearson", "Pearson r", "{:.3f}"))
UNIFRAC_ROWS = (
    ("this model", "unifrac"),
    ("this model, by sample embeddings", "euclidean"),
    ("calibrated UPGMA on Hamming distances", "baseline_upgma"),
    ("calibrated Jaccard", "baseline_jaccard"),
)
SHOWN = 6
"""Ids of one reason that are listed."""


@dataclass(frozen=True)
class Figure:
    """A PNG with what stands under it."""

    title: str
    png: bytes
    caption: str = ""


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind; what it did not is empty. `notes` say why something is not shown."""

    name: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    accounts: Sequence[tuple[str, str, int, int]] = ()
    """Ledger: stage, item, entered, lost."""
    losses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Ledger: reason -> ids."""
    notes: Sequence[str] = ()


def report_html(run: RunRecord) -> str:
    """The page."""
    sections = [
        heading(run),
        section("UniFrac of held-out pairs", unifrac_table(run.metrics)),
        section("Masked nucleotides", nucleotide_table(run.metrics)),
        *(section(figure.title, picture(figure)) for figure in run.figures),
        section("Other figures", other_figures(run.metrics)),
        section("Data", data_tables(run.manifest)),
        section("Losses", ledger_tables(run)),
        section("Not shown", "".join(f"<p>{escape(note)}</p>" for note in run.notes)),
        section("Configuration", configuration(run.manifest)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(run.name)}: aam report</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, sections))
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, body: str) -> str:
    """A titled part, nothing where there is nothing to say."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of text, the first column left, the others right; nothing where there are no rows."""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>" if body else ""


def heading(run: RunRecord) -> str:
    """Name of the run, when and how it was made, and its size in numbers."""
    manifest, metrics = run.manifest, run.metrics
    version = manifest.get("versions", {}).get("aam", "")
    made = f"aam {version}, started {manifest.get('started', 'at an unknown time')}"
    seconds = metrics.get("seconds")
    facts = [
        (f"{metrics.get('samples_train', 0):,}", "training samples"),
        (f"{metrics.get('samples_validation', 0):,}", "held-out samples"),
        (f"{manifest.get('asvs', 0):,}", "ASVs"),
        (f"{manifest.get('parameters', 0):,}", "parameters"),
        (f"{metrics.get('steps', 0):,}", "steps"),
        ("" if seconds is None else f"{seconds / 60:.1f}", "minutes of training"),
    ]
    tiles = "".join(f"<div><b>{value}</b>{label}</div>" for value, label in facts if value not in ("", "0"))
    command = " ".join(map(str, manifest.get("command", [])[1:]))
    return (
        f"<header>\n<h1>{escape(run.name)}</h1>\n<p>{escape(made)}</p>\n"
        + (f"<pre>aam {escape(command)}</pre>\n" if command else "")
        + f'<div class="tiles">{tiles}</div>\n</header>'
    )


def unifrac_table(metrics: Mapping[str, Any]) -> str:
    """The model's heads beside the baselines."""
    rows = []
    for label, key in UNIFRAC_ROWS:
        if f"{key}_r2" in metrics:
            rows.append([label, *(number(metrics[f"{key}_{name}"], form) for name, _, form in SCORES)])
        elif f"{key}_skipped" in metrics:
            rows.append([f"{label}: {metrics[f'{key}_skipped']}", "–", "–", "–"])
    return table(["", *(title for _, title, _ in SCORES)], rows)


def nucleotide_table(metrics: Mapping[str, Any]) -> str:
    """The model beside the consensus of each position."""
    rows = [
        [label, number(metrics[f"{key}_accuracy"], "{:.3f}"), number(metrics[f"{key}_cross_entropy"], "{:.3f}")]
        for label, key in (("this model", "nucleotide"), ("consensus of the position", "nucleotide_consensus"))
        if f"{key}_accuracy" in metrics and f"{key}_cross_entropy" in metrics
    ]
    return table(["", "accuracy", "cross-entropy, nats"], rows)


def other_figures(metrics: Mapping[str, Any]) -> str:
    """Whatever else was measured, as it is called in metrics.json."""
    known = ("unifrac_", "euclidean_", "baseline_upgma", "baseline_jaccard", "nucleotide_")
    rows = [
        [name, number(value, "{:,.6g}")]
        for name, value in metrics.items()
        if not name.startswith(known) and isinstance(value, int | float | str)
    ]
    return f"<details>\n<summary>all of metrics.json</summary>\n{table(['', ''], rows)}\n</details>" if rows else ""


def number(value: Any, form: str) -> str:
    """A number in its format; text stays."""
    return form.format(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def picture(figure: Figure) -> str:
    """The PNG, inside the page."""
    data = base64.b64encode(figure.png).decode("ascii")
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    return f'<figure><img alt="{escape(figure.title)}" src="data:image/png;base64,{data}">{caption}</figure>'


def data_tables(manifest: Mapping[str, Any]) -> str:
    """Files with their checksums, samples kept, what was dropped and why."""
    files = [(name, str(at["path"]), f"{at['sha256'][:16]}…") for name, at in manifest.get("data", {}).items()]
    samples = manifest.get("samples", {})
    kept = [(f"{name} samples", f"{count:,}") for name, count in samples.items() if isinstance(count, int)]
    dropped = [(f"left out: {reason}", f"{count:,}") for reason, count in manifest.get("dropped", {}).items()]
    if "rarefy_depth" in manifest:
        depth = manifest["rarefy_depth"]
        kept.append(("reads drawn per sample and epoch", "all" if depth is None else f"{depth:,}"))
    return table(["", ""], kept + dropped) + table(["file", "path", "SHA-256"], files)


def ledger_tables(run: RunRecord) -> str:
    """Accounts of every stage, and what was lost why."""
    accounts = [
        (f"{stage} ({item}s)", f"{entered:,}", f"{entered - lost:,}", f"{lost:,}")
        for stage, item, entered, lost in run.accounts
    ]
    reasons = []
    for reason, ids in run.losses.items():
        shown = ", ".join(ids[:SHOWN]) + ", …" * (len(ids) > SHOWN)
        reasons.append((f"{reason}: {shown}", f"{len(ids):,}"))
    return table(["stage", "entered", "kept", "lost"], accounts) + table(["reason", "lost"], reasons)


def configuration(manifest: Mapping[str, Any]) -> str:
    """All settings by group, folded away, and the versions of what computed."""
    parts = []
    for group, values in manifest.get("config", {}).items():
        if isinstance(values, Mapping):
            rows = [(name, "–" if value is None else str(value)) for name, value in values.items()]
            parts.append(f"<details>\n<summary>{escape(group)}</summary>\n{table(['', ''], rows)}\n</details>")
    versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())
    return "\n".join(parts) + (f"<p>{escape(versions)}</p>" if versions else "")
