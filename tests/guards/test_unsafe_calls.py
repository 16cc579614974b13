"""No code runs what a file or a name says: no `eval`, no shell, no YAML objects, no archive unpacked by its names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from parsed_code import tree_of

ROOT = Path(__file__).parents[2]
FILES = [path for folder in ("aam", "debug") for path in sorted((ROOT / folder).rglob("*.py"))]
"""What users run; the scripts of developers unpack archives that they have made."""
CALLS = {
    "eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "pd.eval",
    "shutil.unpack_archive", "tempfile.mktemp", "__import__",
}  # fmt: skip
METHODS = {"extractall", "extract", "read_pickle", "to_pickle"}
"""Of archives, which place files by names that the archive chose, and of pandas, which unpickle."""
MODULES = {"marshal", "shelve", "tarfile", "pty", "telnetlib", "ftplib", "xmlrpc", "code", "codeop"}
TEMPLATES = "Environment"


def unsafe(node: ast.AST) -> bool:
    """Whether a piece of code is one that must not be there."""
    if isinstance(node, ast.Import):
        return bool(MODULES & {name.name.split(".")[0] for name in node.names})
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in MODULES
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    keywords = {key.arg: ast.unparse(key.value) for key in node.keywords}
    return (
        called in CALLS
        or (isinstance(node.func, ast.Attribute) and node.func.attr in METHODS)
        or keywords.get("shell", "False") != "False"
        or (called == TEMPLATES and keywords.get("autoescape") != "True")
    )


def test_nothing_runs_what_it_reads() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:100]}"
        for path in FILES
        for node in ast.walk(tree_of(path))
        if unsafe(node)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "code",
    ["eval(text)", "os.system(name)", "run(name, shell=True)", "yaml.load(file)", "archive.extractall(folder)",
     "import tarfile", "from marshal import loads", "Environment(loader=x)"],
)  # fmt: skip
def test_the_rule_knows_what_is_unsafe(code: str) -> None:
    assert any(unsafe(node) for node in ast.walk(ast.parse(code)))


def test_the_rule_lets_the_rest_pass() -> None:
    sound = "run([name])\nyaml.safe_load(file)\narchive.open(entry)\nEnvironment(autoescape=True)\nre.compile(text)"
    assert not any(unsafe(node) for node in ast.walk(ast.parse(sound)))
