"""The work of `aam models`: what can be asked for by name, and the runs in a folder, each with what it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open

from aam.atomic import read_json
from aam.checkpoint import find_members
from aam.config import FinetuneConfig, RunnableConfig, is_clades
from aam.corpus.gene_doubts import knows_every_region, span_text
from aam.encoders import CARD, shipped_models
from aam.errors import CheckpointError
from aam.observer import Observer
from aam.report.record import read_metrics
from aam.stored import MODEL, read_stored
from aam.text import counted, name_few
from aam.workflows.model_names import models_in, user_models

if TYPE_CHECKING:
    import pandas as pd

Place = Literal["shipped", "yours", "here"]
MOST_FIGURES = 3
"""Metrics of a model that its line has room for."""
FIGURES = (
    *("unifrac_r2", "nucleotide_accuracy", "faith_pd_r2"),
    *("auc_mean_over_studies", "spearman_mean_over_studies", "mae_mean_over_studies"),
    *("r2", "mae", "balanced_accuracy", "auc", "spearman"),
)
"""Metrics that are shown, of those that a model has; the first few stand in the table."""
REGIONS_NAMED = 2
"""Regions of the studies of training that are listed."""


@dataclass(frozen=True)
class ListedModel:
    """A model: where it is, what it does, and how large it is.

    `kind` is "encoder" or what is predicted. `width`: of embeddings, 0 without them. `region`: of the reads of
    training. `size`: bytes of its weights, of several folds all. `figures`: metrics of held-out samples, by the names
    of metrics.json.
    """

    name: str
    place: Place
    kind: str
    region: str
    width: int
    parameters: int
    size: int
    figures: Mapping[str, float]
    folder: Path

    @property
    def record(self) -> dict[str, Any]:
        """The values for JSON."""
        return {**asdict(self), "folder": str(self.folder)}


def list_models(observer: Observer) -> list[ListedModel]:
    """The models that ship, those of the user, and the runs in this folder; warns of those it cannot read."""
    places: dict[Place, dict[str, Path]] = {
        "shipped": shipped_models(),
        "yours": models_in(user_models()),
        "here": models_in(Path()),
    }
    found = []
    for place, models in places.items():
        for name, folder in models.items():
            try:
                found.append(describe(name, place, folder))
            except CheckpointError as error:
                observer.warn(f"{name} is left out: {error}")
    return found


def describe(name: str, place: Place, folder: Path) -> ListedModel:
    """What a model is, from its configuration and the heads of its files; raises CheckpointError for damaged ones."""
    members = find_members(folder)
    config, card = read_stored(members[0]).config, read_mapping(folder / CARD)
    found = card.get("metrics")
    figures = found if isinstance(found, dict) else read_metrics(folder)
    return ListedModel(
        name,
        place,
        kind_of(config),
        regions_text(config),
        0 if is_clades(config) else config.model.dim,
        card["parameters"] if isinstance(card.get("parameters"), int) else count_parameters(members[0] / MODEL),
        sum((member / MODEL).stat().st_size for member in members),
        {key: value for key, value in flat(figures).items() if key.split(".")[-1] in FIGURES},
        folder,
    )


def flat(figures: Mapping[str, Any], within: str = "") -> dict[str, float]:
    """Finite numbers by name; those of a mapping in a mapping by both names, of an interval its value."""
    found: dict[str, float] = {}
    for key, value in figures.items():
        if isinstance(value, Mapping):
            found |= {f"{within}{key}": value["value"]} if "value" in value else flat(value, f"{within}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[f"{within}{key}"] = value
    return found


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a JSON file beside a model; empty if it is missing or is something else."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def kind_of(config: RunnableConfig) -> str:
    """What a model does."""
    if isinstance(config, FinetuneConfig):
        return f"predicts {name_few(config.target.target, 2)}{' from clades' if is_clades(config) else ''}"
    return "encoder"


def regions_text(config: RunnableConfig) -> str:
    """Where the reads of training lie on the gene."""
    spans = dict.fromkeys(span_text(one) for one in config.data.reads)
    return "every region" if knows_every_region(config) else name_few(list(spans), REGIONS_NAMED) or "not recorded"


def count_parameters(weights: Path) -> int:
    """Numbers in a file of weights, by its head alone."""
    try:
        with safe_open(weights, framework="pt") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights}: not readable ({error})") from error


def models_table(models: Sequence[ListedModel]) -> pd.DataFrame:
    """The models as rows by name, their figures as columns."""
    import pandas as pd

    columns = [field.name for field in fields(ListedModel) if field.name != "figures"]
    rows = [{name: getattr(one, name) for name in columns} | dict(one.figures) for one in models]
    return pd.DataFrame(rows, columns=[*columns, *figure_columns(models)]).set_index("name")


def figure_columns(models: Sequence[ListedModel]) -> list[str]:
    """Names of the figures that any of the models has, in the order of `FIGURES`."""
    names = {name for one in models for name in one.figures}
    return sorted(names, key=lambda name: (FIGURES.index(name.split(".")[-1]), name))


def size_text(size: int) -> str:
    """Bytes for messages."""
    return f"{size / 1e6:.1f} MB"


def rows_of(models: Sequence[ListedModel]) -> list[list[str]]:
    """The cells of the table of `aam models`, the head first."""
    rows = [["name", "where", "kind", "region", "width", "parameters", "size", "metrics of held-out samples"]]
    for one in models:
        figures = [f"{name} {value:.3f}" for name, value in list(one.figures.items())[:MOST_FIGURES]]
        cells = [one.name, one.place, one.kind, one.region, str(one.width or "-"), f"{one.parameters:,}"]
        rows.append([*cells, size_text(one.size), ", ".join(figures) or "-"])
    return rows


def total_text(models: Sequence[ListedModel]) -> str:
    """How many models there are, and where those of the user belong."""
    here = sum(one.place == "here" for one in models)
    runs = f", {here} of them runs in this folder" if here else ""
    count = counted(len(models), "models")
    return f"{count}{runs}; folders of models in {user_models()} are listed here by their names"
