"""`aam explain` for an ensemble on clades: the clades and ASVs that drive a class or a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from aam.config import NUMERIC_TASKS
from aam.config.apply import ExplainConfig, Inputs, PlaceConfig
from aam.corpus.label_schema import unscale_values
from aam.corpus.samples import TableSamples, open_samples
from aam.errors import ConfigError
from aam.inference import explain as explaining
from aam.io.ids import FEATURE_ID
from aam.io.taxonomy import read_taxonomy
from aam.learners.clades import CladeTable
from aam.learners.drivers import Lines, Output, contributing, deletion
from aam.learners.ensemble import Ensemble
from aam.observer import Observer
from aam.placement.reference import Reference
from aam.placement.taxonomy import UNASSIGNED, clade_lineages, classify, find_lineages
from aam.report.figures import PngFile
from aam.report.naming import asv_label
from aam.report.parts import TAXON, TIPS
from aam.text import counted
from aam.workflows.clade_inputs import PlacedSamples, place_samples
from aam.workflows.explained_samples import samples_of_run, say_drawn_samples
from aam.workflows.opened import say_opened
from aam.workflows.opening import for_model
from aam.workflows.place import Chosen, open_chosen
from aam.workflows.stored_clades import StoredClades

DELETED = 30
"""Leading lines whose reads are taken out."""
CLADE = "clade-"
"""Begin of the id of a clade; the number of its node on the reference follows."""
ROWS_PRINTED = 10


@dataclass(frozen=True)
class CladeDrivers:
    """The clades and ASVs that drive the output `explained`, a row of `table` for each, the leading one first.

    It is explained in `explained_samples` of the `table_samples` samples of a table.
    """

    explained: str
    explained_samples: int
    table_samples: int
    table: pd.DataFrame
    models: int = 1

    @property
    def labels(self) -> list[str]:
        """What stands for each where there is little room."""
        return [asv_label(str(name), taxon) for name, taxon in self.table[TAXON].items()]

    @property
    def count_text(self) -> str:
        """How many there are."""
        return counted(len(self.table), "clades and ASVs")

    @property
    def verdict(self) -> str:
        """Nothing: the effect of deletion stands beside each clade and ASV."""
        return ""

    @property
    def record(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "explained": self.explained,
            "models": self.models,
            "explained_samples": self.explained_samples,
            "table_samples": self.table_samples,
        }

    def printed(self) -> list[list[list[str]]]:
        """The table of the leading ones, its head first."""
        rows = [["leading clades and ASVs", "rank", "tips", "samples", "abundance", "share", "if deleted"]]
        for label, row in zip(self.labels, self.table.head(ROWS_PRINTED).itertuples(), strict=False):
            numbers = [f"{row.rank}", f"{row.tips}", f"{row.samples}", f"{row.mean_abundance:.4f}"]
            rows.append([label, *numbers, f"{row.share:.2%}", f"{row.deletion:+.4f}"])
        return [rows]

    def draw(self, target: PngFile) -> None:
        """Draw the leading ones."""
        from aam.report.clade_figures import plot_clade_drivers  # a picture that fails must not cost the table

        share, attribution, change = (self.table[name].to_numpy() for name in ("share", "attribution", "deletion"))
        plot_clade_drivers(self.labels, share, attribution, change, target)


def explain_clades(opened: StoredClades, inputs: Inputs, config: ExplainConfig, observer: Observer) -> CladeDrivers:
    """The drivers of a class or number in the samples of a table; raises ConfigError for an output it does not have."""
    if inputs.data.tree is not None:
        raise ConfigError("--tree: clades have their place on the reference of the model; leave it out")
    trained, ensemble = opened.config, opened.ensemble
    asked = explaining.choose_output(trained, config.of)
    lineages = None if config.taxonomy is None else read_taxonomy(config.taxonomy)
    samples = samples_of_run(open_table(opened, inputs, observer).by_id(), inputs.model, observer)
    say_drawn_samples(len(samples.table.sample_ids), config.max_samples, observer)
    chosen = open_chosen(trained.learner, observer)
    opened.check_reference(chosen.folder)
    placed = place_samples(samples, chosen, trained.learner.threads, observer)
    count = len(samples.table.sample_ids)
    table = placed.table.rows(np.sort(np.random.default_rng(inputs.run.seed).permutation(count)[: config.max_samples]))
    with observer.stage("explaining"):
        lines = contributing(ensemble, table, direction_of(ensemble, asked.place), chosen.reference.tree)
        leading = lines.order()[:DELETED]
        change = np.full(len(lines.feature), np.nan)
        change[leading] = deletion(ensemble, table, lines.feature[leading], output_of(opened, asked.place))
        taxa = asv_names(samples, placed, chosen, lineages, str(config.taxonomy))
        found = drivers_table(ensemble, lines, change, Names.of(ensemble, samples, chosen.reference, taxa))
    return CladeDrivers(asked.name, table.asvs.shape[0], count, found)


def open_table(opened: StoredClades, inputs: Inputs, observer: Observer) -> TableSamples:
    """The samples to explain."""
    trained = opened.config.data
    with observer.stage("reading the data"):
        data = for_model(inputs.data, trained, inputs.model)
        samples = open_samples(data, inputs.apply.rarefy_depth, inputs.run.seed, trained.max_bp)
    say_opened(samples, observer, trained.max_bp)
    return samples


def direction_of(ensemble: Ensemble, place: int) -> NDArray[np.float64]:
    """What scores [K] are multiplied by: a number by itself, a class by its difference to the mean of the others."""
    count = ensemble.ridge.coefficients.shape[1]
    if not ensemble.classes:
        return np.eye(count)[place]
    return np.where(np.arange(count) == place, 1.0, -1.0 / (count - 1))


def output_of(opened: StoredClades, place: int) -> Output:
    """What is explained of samples: a number in its units, or log-odds of a class before calibration.

    Each sample is a study of its own, so that its level is not that of the others.
    """

    def output(table: CladeTable) -> NDArray[np.float64]:
        said = opened.ensemble(table, np.arange(table.asvs.shape[0]))
        if opened.config.target.task in NUMERIC_TASKS:
            return unscale_values(said[:, place], opened.config.schema.numbers[0])
        others = np.delete(said, place, axis=1)
        return said[:, place] - logsumexp(others, axis=1)

    return output


def asv_names(
    samples: TableSamples, placed: PlacedSamples, chosen: Chosen, given: Mapping[str, str] | None, source: str
) -> list[str]:
    """The lineage of each ASV, "" for none: from the file `source`, or by its place on the reference."""
    if given is not None:
        return find_lineages(samples.table.asv_ids, given, source)
    taxa = classify(placed.places, chosen.reference)
    if taxa is None:
        return [""] * len(samples.table.asv_ids)
    return ["" if name == UNASSIGNED else name for name in taxa.reported(PlaceConfig.confidence)[0]]


@dataclass(frozen=True)
class Names:
    """Id, number of reference tips and lineage of each feature of an ensemble [F]; an ASV has one tip, itself."""

    ids: list[str]
    tips: NDArray[np.int64]
    taxa: list[str]

    @classmethod
    def of(cls, ensemble: Ensemble, samples: TableSamples, reference: Reference, asv_taxa: list[str]) -> Names:
        """Names of clades by node and common lineage, of ASVs by their id and lineage in the table."""
        nodes, tree, table = ensemble.features.nodes, reference.tree, samples.table
        row = {sequence: place for place, sequence in enumerate(table.sequences)}
        own = [row.get(sequence) for sequence in ensemble.features.sequences]
        return cls(
            [f"{CLADE}{node}" for node in nodes.tolist()] + ["" if at is None else table.asv_ids[at] for at in own],
            np.r_[tree.last[nodes] - tree.first[nodes], np.ones(len(own), np.int64)].astype(np.int64),
            clade_lineages(reference, nodes) + ["" if at is None else asv_taxa[at] for at in own],
        )


def drivers_table(ensemble: Ensemble, lines: Lines, change: NDArray[np.float64], names: Names) -> pd.DataFrame:
    """A row for each line, the leading one first; `change` [L] by deletion."""
    order = lines.order()
    feature = lines.feature[order]
    columns = {
        "rank": np.arange(1, len(order) + 1),
        "kind": np.where(feature < len(ensemble.features.nodes), "clade", "ASV"),
        TIPS: names.tips[feature],
        "alike": lines.alike[order],
        "samples": lines.samples[order],
        "mean_abundance": lines.abundance[order],
        "attribution": lines.attribution[order],
        "influence": lines.influence[order],
        "share": lines.share[order],
        "deletion": change[order],
        TAXON: np.array([names.taxa[place] for place in feature], dtype=object),
    }
    return pd.DataFrame(columns, index=pd.Index([names.ids[place] for place in feature], name=FEATURE_ID))
