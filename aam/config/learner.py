"""Settings of what learns in `aam train`: a network, or learners on the clades of a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aam.config.fields import option
from aam.config.reference import PlacingConfig

Learner = Literal["auto", "network", "clades"]
CLADES: Learner = "clades"


@dataclass(frozen=True)
class LearnerConfig(PlacingConfig):
    """What learns, and the reference on which it reads samples."""

    learner: Learner = option(
        "auto",
        "What learns: a network on ASV embeddings; or clades, an ensemble of ridge and forests on the abundances of ASVs and of every clade of the reference, which compares samples within their study; auto: clades for several studies and for --pretrained with a run of clades, else the network.",
    )
