"""What `__all__` promises exists, and looking at the package costs nothing."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from parsed_code import tree_of

PACKAGE = Path(__file__).parents[2] / "aam"
HEAVY = {"torch", "skbio", "biom", "pandas", "scipy", "matplotlib", "h5py"}


def exports(path: Path) -> bool:
    """Whether a module assigns `__all__`."""
    if "__all__" not in path.read_text():  # most; they are not parsed at every collection
        return False
    body = tree_of(path).body
    return any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in body)


EXPORTING = sorted(filter(exports, PACKAGE.rglob("*.py")))


@pytest.mark.parametrize("path", EXPORTING, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_exported_name_exists_once(path: Path) -> None:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__))
    for exported in module.__all__:
        getattr(module, exported)


def test_a_package_that_passes_names_of_its_modules_on_says_which() -> None:
    silent = []
    for path in PACKAGE.rglob("__init__.py"):
        own = ".".join(path.parent.relative_to(PACKAGE.parent).parts)
        imports = [node for node in tree_of(path).body if isinstance(node, ast.ImportFrom)]
        if path not in EXPORTING and any((node.module or "").startswith(f"{own}.") for node in imports):
            silent.append(own)
    assert not silent


def test_importing_the_package_and_its_command_line_is_cheap() -> None:
    """`aam --help` and shell completion must not wait for torch."""
    code = f"import sys, aam, aam.datasets, aam.config, aam.cli; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
