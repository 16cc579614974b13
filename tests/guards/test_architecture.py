"""House rules that a machine can check: imports go down the floors, code stays readable, nothing unpickles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from parsed_code import tree_of

PACKAGE = Path(__file__).parents[2] / "aam"
FLOORS = [
    {"records", "text", "spelling", "turns", "vocab"},
    {"errors"},
    {"atomic", "paths", "stopping"},
    {"folders", "observer"},
    {"config"},
    {"io", "phylogeny", "models", "health", "datasets", "encoders", "gene"},
    {"placement", "stored"},
    {"corpus", "checkpoint"},
    {"learners"},
    {"evaluation", "training.losses"},
    {"training", "inference"},
    {"report"},
    {"workflows"},
    {"cli", "__main__", "sklearn", "data"},
    {"api"},
]
"""Lowest first. A room is a module or package of `aam`; rooms of one floor do not know each other."""
MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS = 350, 80, 8
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> tuple[str, int]:
    """Room and floor of a dotted name below `aam`: the longest room that fits; the package itself lies below all."""
    if not module or module == "__init__":
        return "", -1
    rooms = [
        (room, floor)
        for floor, names in enumerate(FLOORS)
        for room in names
        if module == room or module.startswith(f"{room}.")
    ]
    assert rooms, f"aam.{module} has no place in the table of floors of this test: give it one"
    return max(rooms, key=lambda found: len(found[0]))


def name_of(path: Path) -> str:
    """Dotted name of a file below `aam`, without the `aam.`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names below `aam` that a file imports anywhere, functions included, with their lines."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((name.name[4:], node.lineno) for name in node.names if name.name.startswith("aam."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import with its full name"
            if node.module == "aam":
                yield from ((name.name, node.lineno) for name in node.names if not name.name.startswith("__"))
            elif node.module and node.module.startswith("aam."):
                yield node.module[4:], node.lineno
                # `from aam.training import losses` means the room training.losses
                for name in node.names:
                    if (PACKAGE / node.module[4:].replace(".", "/") / f"{name.name}.py").exists():
                        yield f"{node.module[4:]}.{name.name}", node.lineno


def resolved(path: Path) -> Iterator[tuple[str, int, int]]:
    """(room, floor, line) of what a file imports; a package named only on the way to its module does not count."""
    names = list(imported(path))
    for name, line in names:
        if any(other.startswith(f"{name}.") and at == line for other, at in names):
            continue
        room, floor = room_of(name)
        yield room, floor, line


def test_imports_go_down_the_floors() -> None:
    climbs = []
    for path in MODULES:
        here, floor = room_of(name_of(path))
        for there, other, line in resolved(path):
            sideways = other == floor and there != here and here != "__main__"
            if floor >= 0 and (other > floor or sideways):
                climbs.append(f"{path.relative_to(PACKAGE.parent)}:{line}: {here} -> {there}")
    assert not climbs, "\n".join(climbs)


@pytest.mark.parametrize(
    ("module", "room", "floor"), [("io.table", "io", 5), ("training.losses", "training.losses", 9)]
)
def test_rooms_are_told_apart_by_their_longest_name(module: str, room: str, floor: int) -> None:
    assert room_of(module) == (room, floor)


def test_files_and_functions_stay_readable() -> None:
    long = []
    for path in MODULES:
        text, name = path.read_text(), path.relative_to(PACKAGE.parent)
        if text.count("\n") > MAX_FILE:
            long.append(f"{name}: {text.count(chr(10))} lines, at most {MAX_FILE}")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef):
                continue
            lines = node.end_lineno - node.lineno + 1
            names = [arg.arg for arg in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
            count = len([name for name in names if name not in {"self", "cls"}])
            if lines > MAX_FUNCTION or count > MAX_PARAMETERS:
                long.append(f"{name}:{node.lineno}: {node.name} has {lines} lines and {count} parameters")
    assert not long, "\n".join(long)


def test_nothing_is_unpickled() -> None:
    """A table, a checkpoint or a cache from a stranger must not be able to run code."""
    found = []
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [name.name for name in node.names] + [getattr(node, "module", None) or ""]
                bad = {"pickle", "cPickle", "joblib", "dill", "cloudpickle"} & {name.split(".")[0] for name in names}
            elif isinstance(node, ast.Call):
                keywords = {key.arg: ast.unparse(key.value) for key in node.keywords}
                called = ast.unparse(node.func)
                bad = keywords.get("allow_pickle", "False") != "False" or (
                    called == "torch.load" and keywords.get("weights_only") != "True"
                )
            else:
                continue
            if bad:
                found.append(f"{path.relative_to(PACKAGE.parent)}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "\n".join(found)


def test_no_object_is_asked_what_it_is() -> None:
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hasattr"
    ]
    assert not found, f"hasattr: {found}"
