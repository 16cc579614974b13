"""An encoder measured on studies: how much of an embedding is the study, the body habitat, the person, the label.

    python benchmarks/encoder.py --model RUN [--model OTHER] [--untrained] [--only ab] --data STUDIES --data2 TABLES

A model is the folder of a run or of a checkpoint, or the name of a shipped encoder. All are measured on the same
samples beside methods that learn nothing. Prints a table for each section and writes all as JSON. Sections:

a  how much of the embedding of a stool sample is its study (less is better)
b  gut, oral or skin, by the nearest samples of other studies
c  whether the nearest other sample is of the same person
d  labels from frozen embeddings, beside a forest on abundances
e  UniFrac as the encoder itself tells it
f  one encoder, two windows of the gene (with --reference)
g  seconds and memory from a cold start (placement with --reference)

"seen": the encoder was trained on the study (of several, on one at least). STUDIES holds folders of studies with trees
of their own, TABLES those on one reference.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
import pandas as pd
from encoder_cost import embed_cost, place_costs
from encoder_data import Places, pool
from encoder_labels import LABELS, open_labelled, predict_labels, task_of
from encoder_models import UNTRAINED, Encoder, open_encoders, untrained
from encoder_scores import (
    baseline_distances,
    clr_axes,
    cosine,
    euclidean,
    nearest_classes,
    nearest_same,
    retrieval,
    retrieval_by_chance,
    same_time,
    study_signal,
)
from encoder_windows import draw_tips, labels_across, open_windows, samples_apart, tips_apart
from placement_scores import score
from scipy.spatial.distance import squareform

from aam.phylogeny.unifrac import Measure
from aam.text import table_text

STOOL = (
    "american-gut", "claesson", "cs-prism", "herfarth", "hmp-v35", "jansson-lamendella", "moving-pictures", "protect",
    "qa10394", "risk",
)  # fmt: skip
HABITATS = ("american-gut", "hmp-v35", "moving-pictures")
ORAL = ("buccal", "gingiva", "hard_palate", "palatine", "plaque", "saliva", "throat", "tongue")
PEOPLE = {
    "ecam-infants": "day_of_life", "ibd-2538": None, "herfarth": "day", "jansson-lamendella": "day", "protect": "week",
}  # fmt: skip
"""Studies with several samples of a person, and the column by which two of one day are not two visits."""
UNIFRAC_ON = ("ecam-infants", "ibd-2538", "herfarth")
COLD = "udca-gut"

ABOUT = ("data", "method", "seen", "samples")
Row = dict[str, Any]


class Setting(NamedTuple):
    """What all sections need."""

    places: Places
    encoders: Sequence[Encoder]
    samples: int
    tips: int
    reference: Path | None
    work: Path

    def rows(self, data: str, studies: Sequence[str], found: dict[str, dict[str, Any]], count: int) -> Iterator[Row]:
        """Rows of one set of samples by method; those of an encoder say whether it has seen one of the studies."""
        for method, values in found.items():
            encoder = next((one for one in self.encoders if method.split(", ")[0] == one.name), None)
            seen = "" if encoder is None or not studies else encoder.seen(studies, self.places)
            yield {"data": data, "method": method, "seen": seen, "samples": count, **values}


def studies(setting: Setting) -> Iterator[Row]:
    """Section a."""
    places, most = setting.places, max(20, setting.samples // 8)
    cohort = pool("stool", [places.open(name, lambda frame: frame["body_site"] == "stool", most) for name in STOOL])
    labels, found = cohort.column("study"), dict[str, dict[str, Any]]()
    for name, distances in baseline_distances(cohort, places.tree("american-gut")).items():
        found[name] = {"nearest": nearest_same(distances, labels)}
    found["PCA of CLR"] |= study_signal(clr_axes(cohort), cohort)
    for encoder in setting.encoders:
        points = encoder.embed(cohort)
        found[encoder.name] = {"nearest": nearest_same(euclidean(points), labels), **study_signal(points, cohort)}
    yield from setting.rows(f"{len(STOOL)} studies", STOOL, found, len(cohort.ids))


def habitat_of(frame: pd.DataFrame) -> pd.Series:
    """Gut, oral or skin; missing for other sites."""
    site = frame["body_site"].fillna("")
    found = pd.Series(None, index=frame.index, dtype=object)
    found[site == "stool"] = "gut"
    found[site.str.startswith(ORAL)] = "oral"
    found[site.str.startswith("skin")] = "skin"
    return found


def habitats(setting: Setting) -> Iterator[Row]:
    """Section b."""
    places, most = setting.places, max(20, setting.samples // 5)
    cohort = pool("habitats", [places.open_each(name, habitat_of, most) for name in HABITATS])
    classes, origin = cohort.column("class"), cohort.column("study")
    distances = baseline_distances(cohort, places.tree("american-gut"))
    distances |= {encoder.name: euclidean(encoder.embed(cohort)) for encoder in setting.encoders}
    found = {name: nearest_classes(values, classes, origin) for name, values in distances.items()}
    yield from setting.rows("habitat", HABITATS, found, len(cohort.ids))


def people(setting: Setting) -> Iterator[Row]:
    """Section c."""
    for name, day in PEOPLE.items():
        cohort = setting.places.open_people(name, several_samples, setting.samples)
        subjects, same = cohort.subjects, same_time(cohort, day)
        found: dict[str, dict[str, Any]] = {"chance": {"same person": retrieval_by_chance(subjects, same)}}
        for method, distances in baseline_distances(cohort, setting.places.tree(name)).items():
            found[method] = {"same person": retrieval(distances, subjects, same)}
        for encoder in setting.encoders:
            points = encoder.embed(cohort)
            found[encoder.name] = {"same person": retrieval(euclidean(points), subjects, same)}
            found[encoder.name]["by cosine"] = retrieval(cosine(points), subjects, same)
        yield from setting.rows(name, [name], found, len(cohort.ids))


def several_samples(frame: pd.DataFrame) -> pd.Series:
    """Samples of people that were sampled again; of infants, not of their mothers."""
    subject = frame["subject"] if "mom_child" not in frame else frame["subject"].where(frame["mom_child"] == "C")
    return subject.map(subject.value_counts()).ge(2)


def labels(setting: Setting) -> Iterator[Row]:
    """Section d."""
    for label in LABELS:
        cohort = open_labelled(label, setting.places, setting.samples)
        embeddings = {encoder.name: encoder.embed(cohort) for encoder in setting.encoders}
        found = predict_labels(task_of(label, cohort), cohort, embeddings)
        yield from setting.rows(f"{label.study} {label.column}", [label.study], found, len(cohort.ids))


def unifrac(setting: Setting) -> Iterator[Row]:
    """Section e."""
    from aam.observer import no_progress
    from aam.phylogeny.engines import full_matrix
    from aam.phylogeny.unifrac import build_community

    for name in UNIFRAC_ON:
        cohort = setting.places.open(name, lambda frame: frame["subject"].notna(), max(20, setting.samples // 3))
        community = build_community(cohort.study.counts, cohort.study.ids, setting.places.tree(name))
        found: dict[str, dict[str, Any]] = {}
        for encoder in setting.encoders:
            measure = Measure(encoder.model.unifrac_metric, encoder.model.unifrac_alpha)
            true = squareform(full_matrix(community, measure, "torch", no_progress), checks=False)
            values = score(squareform(encoder.unifrac(cohort), checks=False), true)
            found[encoder.name] = {"r": values.r, "R2": values.r2, "MAE": values.mae}
            jaccard = squareform(baseline_distances(cohort)["Jaccard"], checks=False)
            found["Jaccard"] = {"r": float(np.corrcoef(jaccard, true)[0, 1])}
        yield from setting.rows(name, [name], found, len(cohort.ids))


def windows(setting: Setting) -> Iterator[Row]:
    """Section f."""
    from aam.placement.store import open_reference

    if setting.reference is None:
        return
    whole = open_reference(setting.reference)
    tips = draw_tips(whole, setting.tips)
    plain, labelled = open_windows(setting.places, whole, max(20, setting.samples // 2))
    for encoder in setting.encoders:
        parts: list[tuple[str, str, Callable[[], Iterator[tuple[str, dict[str, Any]]]], int]] = [
            ("tips", "", lambda: tips_apart(encoder, tips), len(tips.reads["V4"])),  # noqa: B023
            ("herfarth", "herfarth", lambda: samples_apart(encoder, plain), len(plain["V4"].ids)),  # noqa: B023
            ("risk disease", "risk", lambda: labels_across(encoder, labelled), len(labelled["V4"].ids)),  # noqa: B023
        ]
        for data, study, measure, count in parts:
            for window, values in measure():
                yield from setting.rows(f"{data}, {window}", [study] if study else [], {encoder.name: values}, count)


def costs(setting: Setting) -> Iterator[Row]:
    """Section g."""
    table = setting.places.folder(COLD) / "table.biom"
    for encoder in setting.encoders:
        yield from setting.rows(
            f"embed {COLD}", [], {encoder.name: embed_cost(encoder.folder, table, setting.work)}, 802
        )
    if setting.reference is not None:
        for name, values in place_costs(setting.reference, table, setting.work).items():
            yield from setting.rows(f"place {COLD}", [], {name: values}, 802)


SECTIONS: dict[str, tuple[str, Callable[[Setting], Iterator[Row]]]] = {
    "a": ("study of stool samples: less is better", studies),
    "b": ("gut, oral or skin by 5 nearest samples of other studies, balanced accuracy", habitats),
    "c": ("share whose nearest other sample is of the same person", people),
    "d": ("labels, 5 folds by person", labels),
    "e": ("UniFrac by the encoder", unifrac),
    "f": ("two windows of the gene", windows),
    "g": ("cold start on one core", costs),
}


def show(rows: Sequence[Row]) -> str:
    """Rows as aligned tables, one for each set of values that rows have."""
    tables: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        tables.setdefault(kind_of(row), []).append(row)
    return "\n\n".join(show_alike(alike) for alike in tables.values())


def kind_of(row: Row) -> tuple[str, ...]:
    """What a row is about: rows of one study share a table, and so do those whose values have the same names."""
    names = tuple(name for name in row if name not in ABOUT)
    return names[:1] if names[0] in ("nearest", "same person", "r") else names


def show_alike(rows: Sequence[Row]) -> str:
    """Rows as one table; a column for each value that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[cell_of(row.get(name, "")) for name in names] for row in rows]
    return table_text([names, *cells])


def cell_of(value: object) -> str:
    """A number or a text as a cell."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@click.command()
@click.option("--model", "models", multiple=True, required=True, help="Folder of a run or checkpoint, or a name.")
@click.option(
    "--untrained", "with_untrained", is_flag=True, help="Also an encoder of the first one's shape, one step old."
)
@click.option("--data", default="../shared/data", type=click.Path(exists=True, path_type=Path), show_default=True)
@click.option("--data2", default="../shared/data2", type=click.Path(exists=True, path_type=Path), show_default=True)
@click.option("--reference", type=click.Path(exists=True, path_type=Path), help="Folder of whole genes, for f and g.")
@click.option("--only", default="abcdefg", show_default=True, help="Sections.")
@click.option(
    "--samples", default=300, show_default=True, help="Samples of a study at most; a, b, e, f take parts of it."
)
@click.option(
    "--tips", default=10_000, show_default=True, help="Tips among which one is sought through another window."
)
@click.option("--work", type=click.Path(path_type=Path), help="Folder that keeps embeddings of ASVs between calls.")
@click.option("--output", default="encoder.json", type=click.Path(path_type=Path), show_default=True)
def main(
    models: tuple[str, ...], with_untrained: bool, data: Path, data2: Path, reference: Path | None, only: str,
    samples: int, tips: int, work: Path | None, output: Path,
) -> None:  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="aam-encoder-") as name:
        kept = work or Path(name)
        kept.mkdir(parents=True, exist_ok=True)
        encoders = open_encoders(models, kept)
        encoders += [untrained(encoders[0], kept)] if with_untrained else []
        setting = Setting(Places(data, data2), encoders, samples, tips, reference, kept)
        names = [encoder.name for encoder in encoders if encoder.name != UNTRAINED]
        record: dict[str, Any] = {"models": names, "samples": samples, "sections": {}}
        for section in (letter for letter in SECTIONS if letter in only):
            title, measure = SECTIONS[section]
            start, busy = time.perf_counter(), time.process_time()
            rows: list[Row] = []
            for row in measure(setting):
                rows.append(row)
                took, used = time.perf_counter() - start, time.process_time() - busy
                record["sections"][section] = {"title": title, "seconds": took, "busy seconds": used, "rows": rows}
                output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                click.echo(f"{section}  {row['data']}, {row['method']}: {took:.0f} s", err=True)
            if rows:
                click.echo(f"\n{section}  {title} ({took:.0f} s, {used:.0f} busy)\n{show(rows)}\n")


if __name__ == "__main__":
    main()
