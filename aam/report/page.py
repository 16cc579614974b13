"""The HTML report of a run: one self-contained file, for screen and print.

This module makes the parts that every run has; callers pass the parts of one kind of run.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aam.config import FinetuneConfig, PretrainConfig, group_titles
from aam.report.record import RunRecord
from aam.report.terms import SectionTerms
from aam.text import counted, name_few

TEMPLATES = Environment(
    loader=PackageLoader("aam.report"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)
SCRIPT = "report.js"
"""The only script of a page, which runs no other: its hash stands in the page's Content-Security-Policy."""
DASH = "–"
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*)?\.?\d+(?:e[-+]?\d+)?(?=$|[ %])")
"""The number that a table cell begins with."""
PICTURE_SCALE = 0.65
"""Pixels of the page for one of a picture, which is drawn with 150 to the inch."""
SAMPLE_WORDS = {"train": "training", "validation": "held-out"}
"""Words for the names that the manifest gives to samples."""
LISTED_IDS = 6
"""Ids of one reason that are listed."""
SIZES = {
    "samples_train": "samples to train on",
    "samples_validation": "samples held out",
    "samples_tested": "held-out samples predicted",
    "folds": "folds",
    "asvs": "ASVs",
    "parameters": "parameters",
    "steps": "steps",
}
"""Numbers of manifest and metrics that stand on top, those that the run has."""
PREDICTED_BY_OTHERS = "samples predicted, each by a model trained without it"
"""What `samples_tested` counts in a cross-validation."""
OVERLAP_LABELS = {
    "table": "samples in the table",
    "metadata": "samples in the metadata",
    "both": "samples in both",
    "matching": "of these, wanted (--where, --as-class)",
    "labelled": "of these, with a target",
}
"""Counts of the manifest's `overlap` of table and metadata."""


class HtmlTable(NamedTuple):
    """Rows of text under a head; a head without text is not shown. With a `summary` the table is collapsed."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    summary: str = ""

    @property
    def headed(self) -> bool:
        return any(self.head)

    @property
    def sortable(self) -> bool:
        return self.headed and len(self.rows) > 1

    @property
    def numeric(self) -> list[bool]:
        """Whether each column has only numbers and what begins with them; the first stands left in any case."""
        columns = list(zip(*self.rows, strict=True))[1:]
        return [False, *(all(cell in (DASH, "") or NUMBER.match(cell) for cell in column) for column in columns)]


class Picture(NamedTuple):
    """A PNG in base64 with its width in pixels of the page."""

    data: str
    width: int
    caption: str


class Part(NamedTuple):
    """A titled section of the page: introduction, picture, tables, notes and `help` in reading it, all optional."""

    title: str
    tables: Sequence[HtmlTable] = ()
    intro: str = ""
    notes: Sequence[str] = ()
    picture: Picture | None = None
    help: str = ""

    @property
    def empty(self) -> bool:
        return not (self.intro or self.notes or self.picture or any(table.rows for table in self.tables))


def picture_part(title: str, png: bytes, caption: str = "") -> Part:
    """A part that shows a PNG; all pictures have the same scale, so that their text has the same size."""
    width = int.from_bytes(png[16:20])  # of the PNG header: 8 bytes of signature, 8 of length and name, then the width
    return Part(title, picture=Picture(base64.b64encode(png).decode("ascii"), round(PICTURE_SCALE * width), caption))


def render_section(part: Part) -> str:
    """The HTML of a part; empty for an empty part."""
    if part.empty:
        return ""
    return TEMPLATES.get_template("part.html").render(
        part=part, terms=SectionTerms(), sort_value=sort_value, unbroken=unbroken
    )


def unbroken(cell: str) -> str:
    """A cell of numbers that is broken only before a bracket: an interval stands whole, below its value if need be."""
    return cell.replace(" ", "\u00a0").replace("\u00a0(", " (")


def sort_value(cell: str) -> Markup:
    """The attribute by which a cell that begins with a number is sorted; empty for text."""
    number = NUMBER.match(cell)
    return Markup(' data-value="{}"').format(number[0].replace(",", "")) if number else Markup("")


def page_script() -> tuple[Markup, str]:
    """The script of the page, and its hash as the page's policy names it."""
    assert TEMPLATES.loader is not None
    text = TEMPLATES.loader.get_source(TEMPLATES, SCRIPT)[0]
    # Both marked texts are safe: a file of this package here, and what a template has escaped in `report_html`.
    digest = base64.b64encode(sha256(text.encode()).digest()).decode("ascii")
    return Markup(text), f"sha256-{digest}"  # nosec B704


def report_html(run: RunRecord, parts: Sequence[Part] = (), notes: Sequence[str] = (), finding: str = "") -> str:
    """The HTML of the page: the `finding`, `parts`, then the parts that every run has.

    `notes` say why something is not shown.
    """
    manifest = run.manifest
    shown = [
        *parts,
        data_part(manifest, run.on_clades),
        health_part(run),
        Part("Not shown", notes=notes),
        configuration_part(run),
    ]
    script, script_hash = page_script()
    return TEMPLATES.get_template("page.html").render(
        name=run.name,
        version=manifest.get("versions", {}).get("aam", ""),
        started=manifest.get("started", "at an unknown time"),
        command=[shlex.quote(str(word)) for word in manifest.get("command", [])[1:]],
        facts=run_facts({**manifest, **run.metrics}),
        finding=finding,
        terms=SectionTerms(),
        sections=[Markup(render_section(part)) for part in shown if not part.empty],  # nosec B704
        script=script,
        script_hash=script_hash,
    )


def run_facts(known: Mapping[str, Any]) -> list[list[str]]:
    """Size and minutes of a run, as pairs of number and label."""
    labels = dict(SIZES)
    if known.get("folds", 1) != 1:
        labels["samples_tested"] = PREDICTED_BY_OTHERS
        if known.get("samples_train") == known.get("samples_tested"):  # the same samples: each is on both sides
            del labels["samples_train"]
    found = [
        counted(known[name], label).split(" ", 1)
        for name, label in labels.items()
        if isinstance(known.get(name), int) and (name != "steps" or known[name])
    ]
    return found + ([[f"{known['seconds'] / 60:.1f}", "minutes of training"]] if "seconds" in known else [])


def format_number(value: Any, form: str) -> str:
    """Format a number; text stays as it is."""
    return form.format(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def data_part(manifest: Mapping[str, Any], all_reads: bool = False) -> Part:
    """Samples kept, what was dropped and why, and the files with their checksums.

    `all_reads`: nothing was drawn, and the depth is that below which samples were left out.
    """
    files = [(name, str(at["path"]), f"{at['sha256'][:16]}…") for name, at in manifest.get("data", {}).items()]
    overlap, samples = manifest.get("overlap", {}), manifest.get("samples", {})
    rows = [(label, f"{overlap[name]:,}") for name, label in OVERLAP_LABELS.items() if name in overlap]
    rows += [
        (f"{SAMPLE_WORDS.get(name, name)} samples", f"{count:,}")
        for name, count in samples.items()
        if isinstance(count, int)
    ]
    rows += [(f"left out: {reason}", f"{count:,}") for reason, count in manifest.get("dropped", {}).items()]
    if "rarefy_depth" in manifest:
        depth = manifest["rarefy_depth"]
        if not all_reads:
            rows.append(("reads drawn per sample and epoch", "all" if depth is None else f"{depth:,}"))
        elif depth is not None:
            rows.append(("fewest reads of a sample; all of its reads are used", f"{depth:,}"))
    return Part("Data", [HtmlTable(("", ""), rows), HtmlTable(("file", "path", "SHA-256"), files)])


def health_part(run: RunRecord) -> Part:
    """Interventions, spikes, numbers of samples and ASVs by stage, and the lost ones with reasons."""
    health = run.manifest.get("health", {})
    records = {"this run": health} if "steps" in health else {f"fold {fold}": found for fold, found in health.items()}
    kept = [
        (name, f"{found['steps']:,}", f"{sum(found['interventions'].values()):,}", f"{found['spikes']:,}")
        for name, found in records.items()
    ]
    accounts = [
        (f"{stage} ({'ASVs' if item == 'asv' else f'{item}s'})", f"{entered:,}", f"{entered - lost:,}", f"{lost:,}")
        for stage, item, entered, lost in run.accounts
    ]
    reasons = [(f"{reason}: {name_few(ids, LISTED_IDS)}", f"{len(ids):,}") for reason, ids in run.losses.items()]
    tables = [
        HtmlTable(("run", "steps", "interventions", "spikes"), kept),
        HtmlTable(("stage", "entered", "kept", "lost"), accounts),
        HtmlTable(("reason", "lost"), reasons),
    ]
    return Part("Health", tables)


def configuration_part(run: RunRecord) -> Part:
    """All settings and metrics, collapsed, and versions of the software."""
    titles = group_titles(PretrainConfig) | group_titles(FinetuneConfig)
    groups = {
        titles.get(group, group): [(name, DASH if value is None else str(value)) for name, value in values.items()]
        for group, values in run.manifest.get("config", {}).items()
        if isinstance(values, Mapping)
    }
    groups["all metrics (metrics.json)"] = [
        (name, format_number(value, "{:,.6g}"))
        for name, value in run.metrics.items()
        if isinstance(value, int | float | str)
    ]
    versions = ", ".join(f"{name} {version}" for name, version in run.manifest.get("versions", {}).items())
    tables = [HtmlTable(("", ""), rows, group) for group, rows in groups.items()]
    return Part("Configuration", tables, notes=[versions] if versions else [])
