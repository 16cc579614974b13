"""`aam explain`: which ASVs drive the embedding of the samples of a table, or what a model predicts of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from aam.cli.model_options import (
    TREE_INPUTS,
    Opened,
    Values,
    common_values,
    encoding_of,
    model_command,
    open_both,
)
from aam.cli.options import PATH, fields_of, option_values
from aam.config import DataConfig, FinetuneConfig, part_of
from aam.config.apply import ExplainConfig
from aam.errors import ConfigError
from aam.io.ids import FEATURE_ID
from aam.text import cut

if TYPE_CHECKING:
    import numpy as np

    from aam.corpus.samples import TableSamples
    from aam.inference.explain import Explanation

SHOWN = 10
"""Leading ASVs on the terminal."""
WIDTH = 40
"""Characters of an id on the terminal."""


@click.command("explain")
@model_command(fields_of(DataConfig, TREE_INPUTS) | fields_of(ExplainConfig))
@click.option("-o", "--output", required=True, type=PATH, help="File to write: .tsv.")
def command(model_path: Path, output: Path, **options: Any) -> None:
    """Find the ASVs that drive the sample embeddings or the predictions of a model.

    For a pretrained model, the distance of each sample embedding from the mean embedding is explained. For a model
    of `aam train`, its prediction is: a target in its units, or the log-odds of a class, averaged over the folds.
    The table has one row per ASV: its attention, its integrated gradient and its share of the total influence.
    drivers.png and drivers.json, written next to it, hold a check: deleting the ASVs with the largest influence
    must change the output more than deleting as many at random. With --tree, the table also has the position of
    each ASV in the tree.

    \b
    Example: aam explain --model aam-run --table table.biom -o drivers.tsv
    """
    from aam.atomic import write_json
    from aam.cli.terminal import optional_output
    from aam.io.output import check_output, new_file

    started, asked = time.monotonic(), option_values(options)
    values, job = common_values(asked), part_of(ExplainConfig, asked)
    figure, figures = output.with_suffix(".png"), output.with_suffix(".json")
    for file, suffix in ((output, ".tsv"), (figure, ".png"), (figures, ".json")):
        check_output(file, [suffix])
    opened = open_both(model_path, values, with_tree=True)
    explained = (of_predictions if isinstance(opened.config, FinetuneConfig) else of_embeddings)(
        opened, model_path, values, job
    )
    found, ids, places = explained.found, opened.samples.table.asv_ids, tree_places(opened.samples)
    with new_file(output) as partial:
        partial.write_text(table_text(found, ids, places), encoding="utf-8")
    record = {"explained": explained.what, "models": explained.models, "explained_samples": found.explained_samples}
    write_json(figures, record | {"deletion": deletion_figures(found)})
    again = "the same command with another --output makes it again"
    with optional_output(str(figure), again), new_file(figure) as partial:
        from aam.report.target_figures import plot_explanation

        plot_explanation(found, ids, places, partial)
    written = [str(file) for file in (output, figure, figures) if file.exists()]
    click.echo(f"explained: {explained.what}\n\n{summary(found, ids)}")
    click.echo(f"{len(found.share):,} ASVs: {', '.join(written)} ({time.monotonic() - started:.1f} s)")


class Explained(NamedTuple):
    """An explanation, what it explains in words, and of how many models it is the mean."""

    found: Explanation
    what: str
    models: int


def of_embeddings(opened: Opened, model_path: Path, values: Values, job: ExplainConfig) -> Explained:
    """How far samples lie from the mean of all samples."""
    from aam.cli.terminal import bar
    from aam.inference.explain import distance_to_mean, explain

    if job.of is not None:
        raise ConfigError(f"--of names a target or class, but {model_path} is a pretrained encoder; leave it out")
    encoding = encoding_of(opened, values.apply)
    with bar("explaining") as progress:
        mean = encoding.embeddings().mean(dim=0).clone()
        found = explain(encoding, distance_to_mean(opened.model, mean), job.max_samples, values.run.seed, progress)
    return Explained(found, "distance of the sample embedding from the mean", 1)


def of_predictions(opened: Opened, model_path: Path, values: Values, job: ExplainConfig) -> Explained:
    """A target or class under the models of all folds, each looked at by itself."""
    from aam.checkpoint import open_predictors
    from aam.cli.study_folds import tell_missing_folds
    from aam.cli.terminal import bar
    from aam.inference.asvs import device_of
    from aam.inference.explain import choose_output, explain, identity_marks, mean_explanation, target_scalar

    members = open_predictors(model_path)
    tell_missing_folds(model_path, len(members))
    output, found = choose_output(members[0].config, job.of), []
    for model, config in members:
        model.to(device_of(opened.model)).open_table(opened.samples.tokens, None)
        encoding = encoding_of(Opened(model.encoder, config, opened.samples), values.apply)
        marks, scalar = identity_marks(model, config.schema.identities), target_scalar(model, config, output)
        with bar("explaining") as progress:
            found.append(explain(encoding, scalar, job.max_samples, values.run.seed, progress, marks))
    return Explained(mean_explanation(found), output.name, len(found))


def tree_places(samples: TableSamples) -> np.ndarray | None:
    """Place of each ASV [A] among the leaves of the tree, None where there is no tree."""
    return None if samples.tree is None else samples.tree.leaves_of(samples.tips)


def table_text(found: Explanation, ids: Sequence[str], places: np.ndarray | None) -> str:
    """The rows of the table, the leading ASV first."""
    columns: dict[str, np.ndarray] = {
        "samples": found.samples,
        "mean_abundance": found.abundance,
        "attention": found.attention,
        "attribution": found.attribution,
        "influence": found.influence,
        "share": found.share,
    }
    if places is not None:
        columns["tree_position"] = places
    lines = ["\t".join([FEATURE_ID, "rank", *columns])]
    for rank, row in enumerate(found.order(), 1):
        lines.append("\t".join([ids[row], str(rank), *(f"{values[row]:.6g}" for values in columns.values())]))
    return "\n".join(lines) + "\n"


def deletion_figures(found: Explanation) -> dict[str, Any]:
    """Mean change of the output by ranking and number of ASVs deleted, and the advantage over chance."""
    from aam.inference.explain import DELETED, RANKINGS

    by_count = {}
    for column, count in enumerate(DELETED):
        if found.deleted_samples[column]:
            changes = dict(zip(RANKINGS, found.deletion[:, column].tolist(), strict=True))
            ratio = changes["integrated gradients"] / changes["random"] if changes["random"] else None
            by_count[str(count)] = {
                "samples": int(found.deleted_samples[column]), "mean_change": changes, "times_random": ratio,
            }  # fmt: skip
    return by_count


def summary(found: Explanation, ids: Sequence[str]) -> str:
    """The leading ASVs and the check, for the terminal."""
    rows = [f"  {'rank':<6}{'leading ASVs':<{WIDTH + 2}}{'samples':>8}{'abundance':>11}{'attention':>11}{'share':>8}"]
    for rank, row in enumerate(found.order()[:SHOWN], 1):  # ids of one primer begin alike: the table has the rank too
        numbers = f"{found.samples[row]:>8}{found.abundance[row]:>11.4f}{found.attention[row]:>11.4f}"
        rows.append(f"  {rank:<6}{cut(ids[row], WIDTH):<{WIDTH + 2}}{numbers}{found.share[row]:>8.2%}")
    rows += ["", "  deleting so many ASVs of a sample moves the output, beside as many at random:"]
    for count, figures in deletion_figures(found).items():
        times = "" if figures["times_random"] is None else f" ({figures['times_random']:.1f} times)"
        changes = figures["mean_change"]
        rows.append(f"  {count:>4}: {changes['integrated gradients']:.4f} beside {changes['random']:.4f}{times}")
    return "\n".join([*rows, ""])
