"""The sequence of a comparison: folds, baselines on each, figures with intervals, differences to a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.atomic import write_json
from aam.cli.report import BASELINES
from aam.cli.study_folds import keep_labels, recorded_folds, study_folds, warnings
from aam.cli.terminal import bar, status
from aam.cli.train_report import out_of_fold, truth
from aam.config import NUMERIC_TASKS, DataConfig, FinetuneConfig, options_of
from aam.corpus.pretraining import read_any_tree, with_example
from aam.corpus.rarefy import rarefy_table
from aam.corpus.split import Fold
from aam.corpus.study import Study, open_study
from aam.errors import ConfigError
from aam.evaluation import metadata_baselines as baselines
from aam.evaluation.target_metrics import Estimate, estimate, metrics_of, paired_difference
from aam.inference.predictions import TRUE
from aam.io.ids import SAMPLE_ID
from aam.io.output import refuse_existing
from aam.phylogeny.engines import full_matrix
from aam.phylogeny.tree import match_tips
from aam.phylogeny.unifrac import Measure, community
from aam.report.parts import estimated
from aam.training.manifest import read_config

PREDICTIONS = "baseline_predictions.tsv"
MODEL = "model"


class Runs(NamedTuple):
    """The run that is compared, if any, and others on the same folds that it is compared with."""

    model: Path | None
    against: tuple[Path, ...] = ()

    def folds(self, config: FinetuneConfig, study: Study) -> list[Fold]:
        """The folds that all of them tested on, those of `config` where there is no run.

        Raises ConfigError where they differ.
        """
        if self.model is None:
            return study_folds(config, study)
        folds = recorded_folds(self.model, study)
        tested = [fold.test.tolist() for fold in folds]
        for other in self.against:
            if [fold.test.tolist() for fold in recorded_folds(other, study)] != tested:
                raise ConfigError(
                    f"--against {other}: its folds are not those of {self.model}; train it with the same data, "
                    "--folds, --group-column and --seed"
                )
        return keep_labels(config, study, folds)

    def predictions(self, study: Study, rows: NDArray[np.int64], config: FinetuneConfig) -> dict[str, pd.DataFrame]:
        """What each predicted for these rows, by name."""
        named = {path.resolve().name: path for path in self.against} | ({MODEL: self.model} if self.model else {})
        return {name: predictions_of(path, study, rows, config) for name, path in named.items()}


def recorded(model: Path, asked: dict[str, Any]) -> FinetuneConfig:
    """The configuration of a run, with the tree that was asked for."""
    config = read_config(FinetuneConfig, model)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **options_of(DataConfig, asked)))


def compare_and_report(config: FinetuneConfig, runs: Runs, folder: Path) -> None:
    """Write predictions and figures of every baseline and print them, beside those of the runs where there are some."""
    for name in (BASELINES, PREDICTIONS):
        refuse_existing(folder / name)
    with status("reading the data"):
        study = open_study(config.data, config.target)
        folds = runs.folds(config, study)
        counts = study.table.counts
        counts = counts if study.depth is None else rarefy_table(counts, study.depth, config.run.seed)
        distances = unifrac_of(config, study, counts)
    for text in warnings(config, study, folds):
        click.echo(f"Warning: {text}", err=True)
    rows = np.concatenate([fold.test for fold in folds])
    said = runs.predictions(study, rows, config)
    figures, tables = {}, []
    for target in config.target.target:
        known, values = target_values(config, study, target)
        labelled = baselines.LabelledCounts(counts, values, config.target.task, distances)
        predicted = predict_all(config, labelled, folds, known)
        for name, table in said.items():
            predicted[name] = table[target].to_numpy()
        kept = known[rows]
        figures[target] = compare(config, study, rows[kept], values, {k: v[kept] for k, v in predicted.items()})
        ids = [study.labels.sample_ids[row] for row in rows[kept]]
        columns = {f"{target}_{name}": column[kept] for name, column in predicted.items()}
        tables.append(pd.DataFrame({f"{target}{TRUE}": values[rows[kept]], **columns}, index=ids))
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(tables, axis=1).rename_axis(SAMPLE_ID).to_csv(folder / PREDICTIONS, sep="\t", float_format="%.6g")
    write_json(folder / BASELINES, figures)
    click.echo("\n".join(text_of(target, found) for target, found in figures.items()))
    click.echo(f"  (95 % bootstrap intervals{' over groups' if config.data.group_column else ''})")
    click.echo(f"  figures      {folder / BASELINES}")


def target_values(config: FinetuneConfig, study: Study, target: str) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which samples have this target [N], and its values [N] (where missing: something that is never used)."""
    values = truth(config, study)[target]
    known = values.notna().to_numpy()
    filled = values.fillna(0.0 if config.target.task in NUMERIC_TASKS else "")
    return known, filled.to_numpy(np.float64 if config.target.task in NUMERIC_TASKS else object)


def predict_all(
    config: FinetuneConfig, study: baselines.LabelledCounts, folds: list[Fold], known: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Predictions of each baseline for the test rows of all folds, in the order of the folds."""
    trained = [fold._replace(train=fold.train[known[fold.train]]) for fold in folds]
    found = {}
    for name in ("random_forest", "linear", "knn", "constant"):
        if name == "knn" and study.distances is None:
            continue
        with status(f"{name.replace('_', ' ')} on {len(folds)} folds"):
            found[name] = baselines.predict_folds(name, study, trained, config.run.seed)
    return found


def unifrac_of(config: FinetuneConfig, study: Study, counts: Any) -> NDArray[np.float64] | None:
    """Unweighted UniFrac of all samples [N, N], or None without a tree or where a sample has nothing on it."""
    data, _ = with_example(config.data)
    if data.tree is None:
        click.echo("no nearest neighbours on UniFrac: give --tree", err=True)
        return None
    tree = read_any_tree(data.tree)
    match = match_tips(study.table.asv_ids, study.table.sequences, tree, data.max_missing)
    on_tree = counts[:, match.columns]
    if (np.asarray(on_tree.sum(axis=1)).ravel() == 0).any():
        click.echo("no nearest neighbours on UniFrac: a sample has no ASV on the tree", err=True)
        return None
    with bar("UniFrac") as progress:
        return full_matrix(community(on_tree, match.tips, tree), Measure("unweighted", 1.0), "torch", progress)


def predictions_of(model: Path, study: Study, rows: NDArray[np.int64], config: FinetuneConfig) -> pd.DataFrame:
    """What a run predicted for these rows, never having trained on them."""
    return out_of_fold(model, config).loc[[study.labels.sample_ids[row] for row in rows]]


def compare(
    config: FinetuneConfig, study: Study, rows: NDArray[np.int64], values: NDArray[Any], predicted: dict[str, Any]
) -> dict[str, Any]:
    """Figures of each predictor, and of each baseline the paired difference of the model to it."""
    metrics = metrics_of(config.target.task)
    true, groups, seed = values[rows], study.labels.rows(rows).groups, config.run.seed
    found: dict[str, Any] = {}
    for name, column in predicted.items():
        found[name] = {key: plain(value) for key, value in estimate(metrics, column, true, groups, seed).items()}
        if name != MODEL and MODEL in predicted:
            found[name]["model_less_this"] = {
                key: plain(paired_difference(metric, (predicted[MODEL], column), true, groups, seed))
                for key, metric in metrics.items()
            }
    return found


def plain(found: Estimate) -> dict[str, float]:
    """An estimate as JSON has it."""
    return {"value": found.value, "low": found.interval.low, "high": found.interval.high}


def text_of(target: str, found: dict[str, Any]) -> str:
    """A table of one target for the terminal."""
    shown = [key for key in next(iter(found.values())) if key != "model_less_this"][:3]
    rows = [(name, figures, "{:.3f}") for name, figures in found.items()]
    rows += [
        (f"model - {name}", figures["model_less_this"], "{:+.3f}")
        for name, figures in found.items()
        if "model_less_this" in figures
    ]
    lines = [target, f"  {'':<24}" + "".join(f"{key:>32}" for key in shown)]
    for name, figures, form in rows:
        lines.append(f"  {name:<24}" + "".join(f"{estimated(figures[key], form):>32}" for key in shown))
    return "\n".join(lines)
