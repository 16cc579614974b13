"""`aam distance`: UniFrac and Faith PD from sequences alone, and how far they are from a tree's where there is one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from aam.cli.model_options import TREE_INPUTS, Opened, common_values, encoding_of, model_command, open_both
from aam.cli.options import PATH, fields_of, option_values
from aam.config import DataConfig, PretrainConfig, part_of
from aam.config.apply import DistanceConfig, DistanceMethod
from aam.text import counted

if TYPE_CHECKING:
    import numpy as np

    from aam.evaluation.distance import Truth
    from aam.inference.embed import Encoding
    from aam.inference.scales import Scales
    from aam.observer import Progress
    from aam.phylogeny.unifrac import Measure

SCORES = {"r2": "R2", "mae": "MAE", "pearson": "Pearson"}
AGREEMENT = {
    "r2_calibrated": "R2 after a line of its own",
    "mantel": "Mantel r",
    "stress": "stress (0 is best)",
    "procrustes": "Procrustes m2 of 10 axes (0 is best)",
    "neighbour_recall": "recall of 10 nearest neighbours",
}


@click.command("distance")
@model_command(fields_of(DataConfig, TREE_INPUTS) | fields_of(DistanceConfig))
@click.option("-o", "--output", required=True, type=PATH, help="File to write: .tsv, .h5 or .npy.")
def command(model_path: Path, output: Path, **options: Any) -> None:
    """Predict the UniFrac of all pairs of samples, and their Faith PD, from ASV sequences alone.

    No tree is needed. The distance is the UniFrac that the model was trained on. Faith PD is written to
    distances.faith_pd.tsv if the model has learned it. With --tree, the true distances are also written, to
    distances.true.tsv, and distances.json holds the metrics of the prediction and of two baselines without learning.

    \b
    Example: aam distance --model aam-run --table table.biom -o distances.tsv
    """
    from aam.atomic import write_json
    from aam.checkpoint import find_members
    from aam.cli.data_notes import tell_flattered
    from aam.cli.terminal import bar
    from aam.io.output import MATRIX_SUFFIXES, check_output, write_columns, write_matrix

    started, asked = time.monotonic(), option_values(options)
    values, job = common_values(asked), part_of(DistanceConfig, asked)
    files = planned(output, with_tree=values.data.tree is not None or values.data.example)
    check_output(output, MATRIX_SUFFIXES)
    for file in files.values():
        check_output(file, [file.suffix])
    opened = open_both(model_path, values, with_tree=True, for_unifrac=True)
    from aam.inference.embed import as_distances
    from aam.inference.scales import read_scales

    (checkpoint,) = find_members(model_path)
    method, scales = fitting(job.method, checkpoint, opened), read_scales(checkpoint)
    encoding = encoding_of(opened, values.apply)
    with bar("UniFrac") as progress:
        if method == "grown-tree":
            predicted = on_grown_tree(opened, encoding, scales, progress)
        else:
            predicted = as_distances(encoding.best_unifrac(progress))
    ids, columns = opened.samples.table.sample_ids, dict[str, Any]()
    if scales.faith_pd is not None or learned_faith_pd(opened):
        tell_source(scales, opened)
        columns["faith_pd"] = encoding.faith_pd(scales.faith_pd).double().cpu().numpy()
    if opened.samples.tree is not None:
        true, figures = compare(opened, Predicted(predicted, columns.get("faith_pd")), scales, values.run.seed)
        columns["true_faith_pd"] = true.faith_pd
        write_matrix(files["true"], ids, true.unifrac)
        write_json(files["figures"], figures)
        click.echo(figures_text(figures))
        if "skipped" not in figures:
            tell_flattered(model_path, ids)
    if columns:
        write_columns(files["faith_pd"], ids, columns)
    write_matrix(output, ids, predicted)
    metric = opened.config.model.unifrac_metric
    click.echo(f"{metric} of {counted(len(ids), 'samples')}: {output} ({time.monotonic() - started:.1f} s)")


def fitting(method: DistanceMethod, checkpoint: Path, opened: Opened) -> DistanceMethod:
    """The method that was asked for, or the one that fits the studies of training; says which, and why."""
    from aam.cli.data_notes import share_text
    from aam.inference.known_asvs import ALIKE, hashes_of, read_known
    from aam.phylogeny.upgma import MAX_ASVS

    if method != "auto" or opened.model.latent_tree is None:
        return method
    known, tokens, likeness = read_known(checkpoint), opened.samples.tokens, None
    if known is None:
        found = "which ASVs were in training stands in the best/ of a run that has come to its end, and not here"
    else:
        asked = hashes_of(tokens)
        likeness = known.likeness(asked, opened.samples.table.counts)
        found = "too few samples to tell whether their study was in training"
        if likeness is not None:
            found = f"{share_text(known, asked)}, likeness to its nearest study {likeness:.2f}"
    new = likeness is not None and likeness < ALIKE
    if new and len(tokens) <= MAX_ASVS:
        click.echo(f"{found}, below {ALIKE}: UniFrac on a grown tree (or else --method latent-tree)", err=True)
        return "grown-tree"
    if new:
        found = f"Warning: {found}, calls for a grown tree, but {len(tokens):,} ASVs are more than {MAX_ASVS:,}"
    click.echo(f"{found}: UniFrac by the latent tree (for another study --method grown-tree)", err=True)
    return "latent-tree"


def planned(output: Path, with_tree: bool) -> dict[str, Path]:
    """The files beside the distances, by what they hold."""
    files = {"faith_pd": output.with_suffix(".faith_pd.tsv")}
    if with_tree:
        files |= {"true": output.with_suffix(f".true{output.suffix}"), "figures": output.with_suffix(".json")}
    return files


def learned_faith_pd(opened: Opened) -> bool:
    """Whether the model has a head for Faith PD that was trained: in a run with a tree that gave the term a weight."""
    config = opened.config
    pretrained = isinstance(config, PretrainConfig) and config.loss.faith_pd_weight > 0
    return pretrained and config.data.unifrac_matrix is None


def tell_source(scales: Scales, opened: Opened) -> None:
    """Say on stderr where Faith PD is not the best that such a model can tell."""
    if scales.faith_pd is None and opened.model.latent_tree is not None:
        click.echo(
            "Faith PD is by the head on sample embeddings: the unit of the latent tree, which would be closer, is "
            "found at the end of `aam pretrain`, and stands in its best/",
            err=True,
        )


def on_grown_tree(opened: Opened, encoding: Encoding, scales: Scales, progress: Progress) -> np.ndarray:
    """UniFrac [N, N] on a tree grown from learned distances, by the line to the tree of training where it is known."""
    import torch

    from aam.inference.embed import as_distances
    from aam.inference.scales import GROWN, grown_unifrac

    found = grown_unifrac(encoding, opened.samples, measure_of(opened), progress)
    if GROWN not in scales.lines:
        click.echo(
            "distances are those of the grown tree: the line to the tree of training is found at the end of "
            "`aam pretrain`, and stands in its best/",
            err=True,
        )
        return found
    return as_distances(torch.from_numpy(scales.lines[GROWN].of(found)))


def measure_of(opened: Opened) -> Measure:
    """The UniFrac that the model was trained on."""
    from aam.phylogeny.unifrac import Measure

    return Measure(opened.config.model.unifrac_metric, opened.config.model.unifrac_alpha)


class Predicted(NamedTuple):
    """UniFrac [N, N] and Faith PD [N] by the model; None where it has learned none."""

    unifrac: np.ndarray
    faith_pd: np.ndarray | None


def compare(opened: Opened, predicted: Predicted, scales: Scales, seed: int) -> tuple[Truth, dict[str, Any]]:
    """What the tree says, and the figures of the prediction beside the baselines."""
    from aam.cli.terminal import bar, status
    from aam.evaluation.distance import distance_figures, diversity_figures, truth

    measure = measure_of(opened)
    with bar("true UniFrac") as progress:
        true = truth(opened.samples, measure, progress)
    with status("comparing"):
        figures = distance_figures(predicted.unifrac, true, opened.samples, measure, seed, scales.lines)
        if predicted.faith_pd is not None:
            figures |= diversity_figures(predicted.faith_pd, true.faith_pd)
    return true, figures


def figures_text(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    if "skipped" in figures:
        return f"not scored: {figures['skipped']}"
    rows = [
        f"{figures['pairs']:,} pairs of {figures['scored_samples']:,} samples",
        "",
        f"  {'UniFrac of pairs':<42}" + "".join(f"{title:>9}" for title in SCORES.values()),
    ]
    labels = {"unifrac": "this model", "baseline_jaccard": "calibrated Jaccard"}
    for key, label in (labels | {"baseline_upgma": "calibrated UPGMA on Hamming"}).items():
        if f"{key}_skipped" in figures:
            rows.append(f"    {label:<40} not computed: {figures[f'{key}_skipped']}")
        else:
            rows.append(f"    {label:<40}" + "".join(f"{figures[f'{key}_{name}']:>9.4f}" for name in SCORES))
        if f"{key}_carried_r2" in figures:
            scores = [figures[f"{key}_carried_{name}"] for name in SCORES]
            rows.append(f"    {'  by the line of the training':<40}" + "".join(f"{score:>9.4f}" for score in scores))
    if "faith_pd_r2" in figures:
        rows.append(f"  {'Faith PD':<42}" + "".join(f"{figures[f'faith_pd_{name}']:>9.4f}" for name in SCORES))
    rows += ["", *(f"  {title:<42}{figures[f'unifrac_{name}']:>9.4f}" for name, title in AGREEMENT.items())]
    return "\n".join([*rows, "", f"  {figures['calibration']}", ""])
