"""The work of `aam embed`: embeddings of samples and ASVs by a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from aam.checkpoint import find_members
from aam.config.apply import EmbedConfig, EmbedWhat, Inputs
from aam.errors import ConfigError
from aam.io.ids import pick_texts
from aam.io.output import INDEX, write_embedding
from aam.observer import Observer
from aam.workflows.model_names import with_model
from aam.workflows.notes import say_known_share
from aam.workflows.opening import open_inputs

if TYPE_CHECKING:
    import pandas as pd

PREFIX = {"samples": "e", "asvs": "e", "branches": "b"}
"""Columns are named by it and a number from 1."""


@dataclass(frozen=True)
class Embedding:
    """Coordinates `values` float32 [rows, columns] of the samples or ASVs `ids`, from a table of `asvs` ASVs."""

    what: EmbedWhat
    ids: Sequence[str]
    values: NDArray[np.float32]
    asvs: int

    @property
    def kind(self) -> str:
        """What the rows are: "samples" or "asvs"."""
        return "asvs" if self.what == "asvs" else "samples"

    @property
    def table(self) -> pd.DataFrame:
        """The rows by id, columns e1, e2 and so on, b1 and so on for branches."""
        import pandas as pd

        names = [f"{PREFIX[self.what]}{number}" for number in range(1, self.values.shape[1] + 1)]
        return pd.DataFrame(self.values, index=pd.Index(list(self.ids), name=INDEX[self.kind]), columns=names)

    def write(self, path: Path) -> None:
        """Write the rows in the format of the path's ending; see `aam.io.output`."""
        write_embedding(path, self.kind, self.ids, PREFIX[self.what], self.values)


def embed(inputs: Inputs, config: EmbedConfig, observer: Observer) -> Embedding:
    """Embed the samples or the ASVs of a table; raises ConfigError for branches of a model without a latent tree."""
    inputs = with_model(inputs, observer)
    opened = open_inputs(inputs, observer, for_unifrac=config.what == "branches")
    if config.what == "branches" and opened.model.latent_tree is None:
        raise ConfigError(
            f"--what branches: the model in {inputs.model} has no latent tree (--unifrac-head "
            f"{opened.config.model.unifrac_head}); use --what samples or asvs"
        )
    members = find_members(inputs.model)
    if len(members) > 1:
        first, second = (folder.parent for folder in members[:2])
        observer.say(f"embedded by the model of {first.name}, one of {len(members)}; --model {second} takes another")
    say_known_share(members[:1], opened.samples.tokens, observer)
    encoding, table = opened.encode(inputs.apply, observer), opened.samples.table
    if config.what == "asvs":
        places = np.argsort(np.arange(len(table.asv_ids)) if table.places is None else table.places)
        ids, found = pick_texts(table.asv_ids, places), encoding.asvs.embeddings[torch.from_numpy(places)]
    else:
        if config.what == "samples":
            opened.say_limit(inputs.apply, observer)
        with observer.progress("samples") as progress:
            branches = encoding.branches(progress) if config.what == "branches" else None
            ids, found = table.sample_ids, encoding.embeddings(progress) if branches is None else branches
    return Embedding(config.what, ids, found.float().cpu().numpy(), len(table.asv_ids))
