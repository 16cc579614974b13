"""Placement on a reference tree: ours, the nearest tip without learning and BSCAMPP with EPA-ng, on the same samples.

    python benchmarks/placement.py --studies STUDIES --tables TABLES --work FOLDER [--only a,b] [--bscampp ENV/bin]

Prints R2 / r of predicted against true UniFrac, no line fitted, and writes everything as JSON. Sections:

a  truth that is no placement: OTU tables whose features are tips of the reference; all of them are taken out first
b  studies with a tree of their own as truth, on the whole reference
c  one reference, other primers: the features of (a) cut at a window of the gene; two windows against each other
d  whole families taken out of the reference: errors of the places of their tips, and UniFrac of their reads
e  seconds and peak memory, each method its own process on one core, and of 1,000 to 100,000 ASVs
f  genus of tips held out, beside naive Bayes on 7-mers, and the calibration of ours

TABLES holds the tables of (a) and the folder `reference-gg13-8-v4` (Greengenes 13.8, V4 fragments), STUDIES those of
(b). References are aligned once and kept in the work folder; (c) aligns 99,322 whole sequences, an hour of one core.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
from placement_cost import cost_of, scaling
from placement_data import (
    GROUPS,
    V4,
    Study,
    features_of,
    kept_otus,
    merged_reference,
    open_study,
    seen_through,
    whole_reference,
    without,
)
from placement_methods import IN_PROCESS, Methods, Placed
from placement_scores import Floats, placed_by_all, placed_unifracs, score, scores_of, unifracs
from placement_taxa import families, genera

from aam.phylogeny.tree import read_tree
from aam.placement.reference import Reference

TABLE_DEPTH = 2000
STUDY_DEPTH = {"ecam-infants": 2000, "ibd-2538": 5000, "udca-gut": 5000}
WINDOWS = {"V4": V4, "V3-V4": (400, 810), "V1-V3": (28, 290), "V5-V7": (900, 1210)}
"""Columns of the gene."""
ACROSS = ("V4", "V1-V3")
BSCAMPP_ON = {"herfarth", "ecam-infants"}
"""It takes minutes to hours for each."""

Found = dict[str, Placed]
"""By method."""
Unifracs = dict[str, Floats]
"""By metric, of all pairs."""


class Setting(NamedTuple):
    """What all sections need."""

    studies: Path
    tables: Path
    samples: int | None
    methods: Methods

    def methods_for(self, name: str) -> Methods:
        """BSCAMPP only where it is affordable."""
        return self.methods if name in BSCAMPP_ON else self.methods._replace(bscampp=None)


def show(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Print one row of the table as it comes, and hand it on."""
    text = "  ".join(
        f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )
    click.echo(f"{name:<45}  {text}")
    return {"name": name, **values}


def compare(label: str, reference: Reference, study: Study, found: Found, true: Unifracs) -> list[dict[str, Any]]:
    """Rows of all methods against the true UniFracs of the study, whose ASVs all have a place."""
    rows = []
    for method, placed in found.items():
        values: dict[str, Any] = dict(scores_of(reference, placed.placements, study, true))
        values |= {"samples": study.counts.shape[0], "ASVs": len(study.ids)}
        values |= {"without place": len(placed.placements.ids) - len(study.ids), "seconds": placed.seconds}
        rows.append(show(f"{label}, {method}", values | ({"MB": placed.megabytes} if placed.megabytes else {})))
    return rows


def placed_everywhere(study: Study, found: Found) -> Study:
    """The ASVs that all methods place."""
    return study.only(placed_by_all([one.placements for one in found.values()]))


def tables(setting: Setting) -> list[dict[str, Any]]:
    """Section a."""
    full, rows = merged_reference(setting.tables, setting.methods.work), []
    for group in GROUPS:
        less = without(full, {name for table in group for name in features_of(setting.tables / table)})
        for name in group:
            study = open_study(setting.tables / name, TABLE_DEPTH, setting.samples)
            found = setting.methods_for(name).place(less, study, "less-" + "-".join(group))
            study = placed_everywhere(study, found)
            rows += compare(f"a {name}", less, study, found, unifracs(full.tree, study))
    return rows


def studies(setting: Setting) -> list[dict[str, Any]]:
    """Section b."""
    full, rows = merged_reference(setting.tables, setting.methods.work), []
    for name, depth in STUDY_DEPTH.items():
        study = open_study(setting.studies / name, depth, setting.samples)
        found = setting.methods_for(name).place(full, study, "whole")
        study = placed_everywhere(study, found)
        true = unifracs(read_tree(setting.studies / name / "tree.nwk"), study)
        rows += compare(f"b {name}", full, study, found, true)
    return rows


def primers(setting: Setting) -> list[dict[str, Any]]:
    """Section c."""
    full, otu, rows = whole_reference(setting.methods.work), kept_otus(setting.tables), []
    group = GROUPS[0]
    less = without(full, {otu[name] for table in group for name in features_of(setting.tables / table)})
    methods = setting.methods._replace(bscampp=None)
    for table in group:
        study = open_study(setting.tables / table, TABLE_DEPTH, setting.samples)
        study = study._replace(ids=[otu[name] for name in study.ids])
        seen: dict[str, Unifracs] = {}
        for name, (first, last) in WINDOWS.items():
            asvs, known = seen_through(study, full, first, last)
            found = methods.place(less, asvs, "less-whole")
            asvs = placed_everywhere(asvs, found)
            rows += compare(f"c {table} {name}", less, asvs, found, unifracs(full.tree, known))
            for method, placed in found.items():
                seen[f"{method} {name}"] = placed_unifracs(less, placed.placements, asvs)
        for method in methods.names:
            one, other = (seen[f"{method} {name}"] for name in ACROSS)
            values = {f"{metric} r": score(one[metric], other[metric]).r for metric in one}
            rows.append(show(f"c {table} {' against '.join(ACROSS)}, {method}", values))
    return rows


def costs(setting: Setting) -> list[dict[str, Any]]:
    """Section e."""
    rows = []
    for name in setting.methods.names:
        for study, depth in (("herfarth", TABLE_DEPTH), ("ecam-infants", STUDY_DEPTH["ecam-infants"])):
            folder = (setting.tables if study == "herfarth" else setting.studies) / study
            asvs = open_study(folder, depth, setting.samples).sequences
            values = cost_of(setting.methods, name, asvs, setting.tables)
            rows.append(show(f"e {study}, {name}", values))
        rows += [show(f"e made-up ASVs, {name}", values) for values in
                 scaling(setting.methods, name, setting.tables)]  # fmt: skip
    return rows


def held_families(setting: Setting) -> list[dict[str, Any]]:
    """Section d."""
    return [show(f"d {name}", values) for name, values in families(setting.tables, setting.methods, setting.samples)]


def held_genera(setting: Setting) -> list[dict[str, Any]]:
    """Section f."""
    return [show(f"f {name}", values) for name, values in genera(setting.tables, setting.methods)]


SECTIONS = {"a": tables, "b": studies, "c": primers, "d": held_families, "e": costs, "f": held_genera}


@click.command(help=__doc__)
@click.option("--studies", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of studies (b).")
@click.option("--tables", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of tables (a).")
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Folder for what is computed once.")
@click.option("--only", default=",".join(SECTIONS), show_default=True, help="Sections, by comma.")
@click.option("--samples", type=int, help="Samples of each study, drawn by a fixed seed  [default: all]")
@click.option("--methods", default=",".join(IN_PROCESS), show_default=True, help="Methods of the package, by comma.")
@click.option("--learned", type=click.Path(path_type=Path), help="Folder with the placer.  [default: WORK/learned]")
@click.option("--bscampp", type=click.Path(path_type=Path, exists=True), help="Folder with bscampp.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file for all figures.")
def main(studies: Path, tables: Path, work: Path, only: str, samples: int | None, methods: str, learned: Path | None,
         bscampp: Path | None, output: Path | None) -> None:  # fmt: skip
    """Run sections and print their rows."""
    work.mkdir(parents=True, exist_ok=True)
    setting = Setting(studies, tables, samples, Methods(methods.split(","), work, learned or work / "learned", bscampp))
    rows = [row for section in only.split(",") for row in SECTIONS[section](setting)]
    if output:
        output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
