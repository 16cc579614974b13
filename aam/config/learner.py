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
        "What learns: network, on embeddings of ASVs; or clades, a ridge regression and forests on how abundant ASVs and clades of the reference are, which compare samples within their study. auto is clades for several studies or if the run of --pretrained is one of clades, else network.",
    )
