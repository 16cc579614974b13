"""The work of `aam explain`: the ASVs that drive sample embeddings or predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.checkpoint import open_predictors
from aam.config import FinetuneConfig
from aam.config.apply import ExplainConfig, Inputs
from aam.errors import ConfigError
from aam.inference import explain as explaining
from aam.inference.asvs import device_of
from aam.inference.explain import RANKING_LABELS, RANKINGS, Explanation
from aam.io.ids import FEATURE_ID
from aam.io.taxonomy import read_taxonomy
from aam.observer import Observer
from aam.placement.taxonomy import find_lineages
from aam.report.figures import PngFile
from aam.report.naming import asv_label
from aam.text import counted
from aam.workflows.explain_clades import CladeDrivers, explain_clades
from aam.workflows.explained_samples import samples_of_run, say_drawn_samples
from aam.workflows.model_names import with_model
from aam.workflows.notes import warn_of_missing_folds
from aam.workflows.opening import Opened, open_inputs
from aam.workflows.stored_clades import find_clades, open_clades

ROWS_PRINTED = 10
"""ASVs on the terminal."""


@dataclass(frozen=True)
class Drivers:
    """Explanation of the output `explained`, averaged over `models` models, for the ASVs `ids` [U].

    `tree_position` int [U] is the place of each ASV among the leaves of the tree, None if there is no tree; `taxa` [U]
    the lineage of each ASV, "" for one without, None if no taxonomy was given.
    """

    explained: str
    models: int
    explanation: Explanation
    ids: Sequence[str]
    tree_position: NDArray[np.int64] | None
    taxa: Sequence[str] | None = None

    @property
    def count_text(self) -> str:
        """How many ASVs there are."""
        return counted(len(self.ids), "ASVs")

    @property
    def verdict(self) -> str:
        """What the check by deletion says, in a sentence."""
        return self.explanation.verdict()

    @property
    def record(self) -> dict[str, Any]:
        """JSON values: what was explained, and the check by deletion."""
        found = self.explanation
        return {
            "explained": self.explained,
            "models": self.models,
            "explained_samples": found.explained_samples,
            "table_samples": found.table_samples,
            "deletion": found.deletion_table(),
        }

    def printed(self) -> list[list[list[str]]]:
        """The tables of the leading ASVs and of the check by deletion, each with its head first."""
        rows = [["leading ASVs", "rank", "samples", "abundance", "attention", "share", "effect"]]
        label = dict(zip(self.ids, self.labels, strict=True))
        for row in self.table.head(ROWS_PRINTED).itertuples():
            numbers = [f"{row.rank}", f"{row.samples}", f"{row.mean_abundance:.4f}", f"{row.attention:.4f}"]
            effect = "raises" if row.attribution > 0 else "lowers"
            rows.append([label[str(row.Index)], *numbers, f"{row.share:.2%}", effect])
        changes = [["change if ASVs are deleted, chosen by", *RANKING_LABELS, "share / chance"]]
        for count, figures in self.explanation.deletion_table().items():
            mean, times = figures["mean_change"], figures["times_random"]
            ratio = "–" if times is None else f"{times:.1f}"
            changes.append([f"{count} in a sample", *(f"{mean[ranking]:.4f}" for ranking in RANKINGS), ratio])
        return [rows, changes]

    def draw(self, target: PngFile) -> None:
        """Draw the leading ASVs, the check by deletion and, with a tree, where they are on it."""
        from aam.report.target_figures import plot_explanation  # a picture that fails must not cost the table

        plot_explanation(self.explanation, self.labels, self.tree_position, target)

    @property
    def labels(self) -> list[str]:
        """What stands for each ASV where there is little room."""
        taxa = [""] * len(self.ids) if self.taxa is None else self.taxa
        return [asv_label(name, taxon) for name, taxon in zip(self.ids, taxa, strict=True)]

    @property
    def table(self) -> pd.DataFrame:
        """One row for each ASV by its id, the leading ASV first; columns as in `Explanation`, then tree and taxon."""
        found, order = self.explanation, self.explanation.order()
        columns = {
            "samples": found.samples,
            "mean_abundance": found.abundance,
            "attention": found.attention,
            "attribution": found.attribution,
            "influence": found.influence,
            "share": found.share,
        }
        columns |= {} if self.tree_position is None else {"tree_position": self.tree_position}
        columns |= {} if self.taxa is None else {"taxon": np.array(self.taxa, dtype=object)}
        ids = pd.Index([self.ids[row] for row in order], name=FEATURE_ID)
        ranked = {"rank": np.arange(1, len(order) + 1)} | {name: values[order] for name, values in columns.items()}
        return pd.DataFrame(ranked, index=ids)


def explain(inputs: Inputs, config: ExplainConfig, observer: Observer) -> Drivers | CladeDrivers:
    """Explain the distance of samples from their mean, or, of a model of `aam train`, a target or class.

    Raises ConfigError if `config.of` is no output of the model.
    """
    inputs = with_model(inputs, observer)
    stored = find_clades(inputs.model)
    if stored is not None:
        return explain_clades(open_clades(stored), inputs, config, observer)
    lineages = None if config.taxonomy is None else read_taxonomy(config.taxonomy)
    opened = open_inputs(inputs, observer, with_tree=True)
    samples, labelled = opened.samples.by_id(), isinstance(opened.config, FinetuneConfig)
    samples = samples_of_run(samples, inputs.model, observer) if labelled else samples
    opened = dataclasses.replace(opened, samples=samples)
    opened.say_limit(inputs.apply, observer)
    say_drawn_samples(len(samples.table.sample_ids), config.max_samples, observer)
    ids = opened.samples.table.asv_ids
    if lineages is None:
        observer.say("ASVs have no names; --taxonomy FILE (taxonomy.tsv of `aam place`, or of QIIME 2) gives them")
    taxa = None if lineages is None else find_lineages(ids, lineages, str(config.taxonomy))
    if taxa is not None and (unnamed := taxa.count("")):
        observer.say(f"without a lineage in {config.taxonomy}: {counted(unnamed, 'ASVs')} of {len(taxa):,}")
    of = explain_predictions if labelled else explain_embeddings
    found, explained, models = of(opened, inputs, config, observer)
    places = None if samples.tree is None else samples.tree.leaves_of(samples.tips)
    return Drivers(explained, models, found, ids, places, taxa)


def explain_embeddings(
    opened: Opened, inputs: Inputs, config: ExplainConfig, observer: Observer
) -> tuple[Explanation, str, int]:
    """Explain the distance of sample embeddings from their mean; returns its name and the number of models too."""
    if config.of is not None:
        raise ConfigError(f"--of names a target or class, but {inputs.model} is a pretrained encoder; leave it out")
    encoding = opened.encode(inputs.apply, observer)
    with observer.progress("explaining") as progress:
        mean = encoding.embeddings().mean(dim=0).clone()
        scalar = explaining.distance_to_mean(opened.model, mean)
        found = explaining.explain(encoding, scalar, config.max_samples, inputs.run.seed, progress)
    return found, "distance of the sample embedding from the mean", 1


def explain_predictions(
    opened: Opened, inputs: Inputs, config: ExplainConfig, observer: Observer
) -> tuple[Explanation, str, int]:
    """Explain a target or class, averaged over the folds; returns its name and the number of models too."""
    members = open_predictors(inputs.model)
    warn_of_missing_folds(inputs.model, len(members), observer)
    output, found = explaining.choose_output(members[0].config, config.of), []
    with observer.progress(f"explaining {counted(len(members), 'models')}") as progress:
        for before, (model, own) in enumerate(members):

            def of_all(done: int, total: int, before: int = before) -> None:
                progress(before * total + done, len(members) * total)

            model.to(device_of(opened.model)).open_table(opened.samples.tokens, None)
            encoding = Opened(model.encoder, own, opened.samples).encode(inputs.apply, Observer())
            marks = explaining.identity_marks(model, own.schema.identities)
            scalar = explaining.target_scalar(model, own, output)
            found.append(explaining.explain(encoding, scalar, config.max_samples, inputs.run.seed, of_all, marks))
    return explaining.average_explanations(found), output.name, len(found)
