"""What the model card of the shipped encoder says, besides what the run itself knows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import encoder_recipe as recipe

if TYPE_CHECKING:
    from aam.report.model_card import CardFacts, DataSource, Figure

BESIDE = {"data", "method", "seen", "samples", "interval", "among"}
"""Columns of a row of figures that are no measured value."""
BENCHMARK = "python benchmarks/encoder.py --model RUN --untrained --reference REFERENCE"


def card_facts(name: str, corpus: Mapping[str, Any], tips: int, figures: Mapping[str, Any]) -> CardFacts:
    """The facts of a card, from the manifest of a corpus, the tips of a reference and the figures of the benchmark."""
    from aam.report.model_card import CardFacts

    return CardFacts(
        name=name,
        licence=recipe.LICENCE,
        attribution=recipe.ATTRIBUTION,
        data=tuple(data_sources(corpus, tips)),
        strengths=recipe.STRENGTHS,
        limits=recipe.LIMITS,
        figures=tuple(card_figures(figures)),
    )


def data_sources(corpus: Mapping[str, Any], tips: int) -> Iterator[DataSource]:
    """The reference, then the studies in the order of the corpus, with their counts."""
    from aam.report.model_card import DataSource

    yield DataSource("Greengenes 13.8", recipe.REFERENCE.licence, f"{tips:,} sequences", recipe.REFERENCE.origin)
    studies = recipe.known_studies()
    for source, part in zip(corpus["sources"], corpus["parts"], strict=True):
        counts, known = f"{part['samples']:,} samples, {part['asvs']:,} ASVs", studies.get(source["name"])
        licence, origin = ("not stated", "") if known is None else (known.licence, known.origin)
        yield DataSource(source["name"], licence, counts, origin)


def card_figures(record: Mapping[str, Any]) -> Iterator[Figure]:
    """A line for each set of samples and each measure, with the values of the encoder and those of other methods."""
    from aam.report.model_card import Figure

    models = {Path(model).name for model in record.get("models", [])}
    for letter, section in record.get("sections", {}).items():
        for data, rows in by_data(section["rows"]).items():
            own = [row for row in rows if row["method"].partition(", ")[0] in models]
            new = "by an encoder trained without them" if any(row["seen"] == "new" for row in own) else ""
            about = ", ".join(text for text in (data, f"{rows[0]['samples']:,} samples", new) if text)
            for measure in dict.fromkeys(key for row in rows for key in row if key not in BESIDE):
                value, others = values_text(rows, measure, models)
                yield Figure(f"{about}: {measure}", value, f"{BENCHMARK} --only {letter}", section["title"], others)


def by_data(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each set of samples, in order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["data"], []).append(row)
    return found


def values_text(rows: Sequence[Mapping[str, Any]], measure: str, models: Collection[str]) -> tuple[str, str]:
    """Values of a measure: those of the encoders `models`, and those of other methods by name."""
    own, others = [], []
    for row in rows:
        if measure in row:
            text = f"{row[measure]:.3f}" if isinstance(row[measure], float) else str(row[measure])
            encoder, _, rest = row["method"].partition(", ")
            if encoder in models:
                own.append(f"{text} ({rest})" if rest else text)
            else:
                others.append(f"{row['method']} {text}")
    return ", ".join(own), "; ".join(others)
