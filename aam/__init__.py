"""Attention All Microbes: a transformer pretrained on amplicon sequences, their abundances and their phylogeny."""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true; importing `typing` takes as long as all else here

if TYPE_CHECKING:
    from aam.api import baseline as baseline
    from aam.api import distance as distance
    from aam.api import embed as embed
    from aam.api import explain as explain
    from aam.api import from_pretrained as from_pretrained
    from aam.api import list_models as list_models
    from aam.api import open_model as open_model
    from aam.api import place as place
    from aam.api import predict as predict
    from aam.api import pretrain as pretrain
    from aam.api import push_to_hub as push_to_hub
    from aam.api import save_pretrained as save_pretrained
    from aam.api import train as train
    from aam.io.table import read_table as read_table
    from aam.phylogeny.tree import read_tree as read_tree
    from aam.report.model_card import CardFacts as CardFacts
    from aam.report.model_card import DataSource as DataSource
    from aam.report.model_card import Figure as Figure
    from aam.workflows.place import Placement as Placement
    from aam.workflows.run import Run as Run

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(("baseline", "distance", "embed", "explain", "list_models", "open_model"), "aam.api"),
    **dict.fromkeys(("place", "predict", "pretrain", "train"), "aam.api"),
    **dict.fromkeys(("from_pretrained", "push_to_hub", "save_pretrained"), "aam.api"),
    **dict.fromkeys(("CardFacts", "DataSource", "Figure"), "aam.report.model_card"),
    "Placement": "aam.workflows.place",
    "Run": "aam.workflows.run",
    "read_table": "aam.io.table",
    "read_tree": "aam.phylogeny.tree",
}
"""Public name -> the module it is imported from when it is first used, so that `import aam` costs nothing."""

__all__ = ["CardFacts", "DataSource", "Figure", "Placement", "Run", "__version__", "baseline", "distance", "embed"]
__all__ += ["explain", "from_pretrained", "list_models", "open_model", "place", "predict", "pretrain", "push_to_hub"]
__all__ += ["read_table", "read_tree", "save_pretrained", "train"]

if not TYPE_CHECKING:  # a type checker would take every name for one of this package

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
