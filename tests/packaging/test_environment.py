"""setup.cfg, environment.yml, constraints.txt, README, Makefile, CI and CHANGELOG say the same."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import aam

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""Where conda-forge calls a package otherwise than PyPI."""
IMPORT_NAMES = {
    "biom": "biom-format",
    "bp": "iow",
    "skbio": "scikit-bio",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Where a module is called otherwise than its package."""


def requirements(text: str) -> dict[str, Requirement]:
    """One requirement a line, by canonical name; comments and channels dropped."""
    lines = (line.split("#")[0].split("::")[-1].strip() for line in text.splitlines())
    return {canonicalize_name(found.name): found for found in map(Requirement, filter(None, lines))}


def lower_bound(requirement: Requirement) -> Version:
    """The version after `>=`."""
    return max(Version(part.version) for part in requirement.specifier if part.operator in {">=", "=="})


SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")
RUNTIME = requirements(SETUP["options"]["install_requires"])
EXTRAS = {name: requirements(text) for name, text in SETUP["options.extras_require"].items()}
PINS = requirements((ROOT / "constraints.txt").read_text())
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CONDA = requirements("\n".join(line for line in ENVIRONMENT["dependencies"] if isinstance(line, str)))


def test_environment_has_the_two_channels_in_order_and_installs_the_package() -> None:
    assert set(ENVIRONMENT) == {"name", "channels", "dependencies"}
    assert ENVIRONMENT["channels"] == ["conda-forge", "bioconda"]
    assert {"pip": ["-e ."]} in ENVIRONMENT["dependencies"] and "pip" in CONDA


@pytest.mark.parametrize("name", sorted(RUNTIME))
def test_environment_has_every_runtime_dependency_in_a_compatible_range(name: str) -> None:
    conda = CONDA[CONDA_NAMES.get(name, name)]
    assert lower_bound(conda) in RUNTIME[name].specifier, "conda would accept a version that setup.cfg refuses"
    assert lower_bound(PINS[name]) in conda.specifier, "conda would refuse the version that was tested"


def test_python_of_the_environment_is_one_setup_accepts() -> None:
    assert Requirement(f"python{SETUP['options']['python_requires']}").specifier.contains(lower_bound(CONDA["python"]))


def test_unifrac_comes_from_conda_and_never_from_a_plain_install() -> None:
    assert "bioconda::unifrac" in (ROOT / "environment.yml").read_text()
    assert "unifrac" in CONDA and "unifrac" not in RUNTIME and "iow" not in RUNTIME
    assert "unifrac" in EXTRAS["unifrac"]
    assert "82" not in CONDA["setuptools"].specifier, "unifrac needs pkg_resources, which setuptools 82 dropped"


@pytest.mark.parametrize("extra", ["test", "docs", "lint", "dev", "fuzz"])
def test_what_is_tested_is_pinned_within_the_bounds(extra: str) -> None:
    for name, requirement in (RUNTIME | EXTRAS[extra]).items():
        assert lower_bound(PINS[name]) in requirement.specifier, name


def test_the_lock_of_a_release_has_the_tested_versions_with_their_hashes() -> None:
    text = (ROOT / "scripts" / "release-lock.txt").read_text()
    entries = re.findall(
        r"^([a-z0-9._-]+)==([^ ;\\]+)[^\n]*\n((?: +--hash=sha256:[0-9a-f]{64}[^\n]*\n)+)", text, re.MULTILINE
    )
    locked = {canonicalize_name(name): Version(version) for name, version, _ in entries}
    assert len(locked) == len(re.findall(r"^\S", text, re.MULTILINE)) and "://" not in text
    assert {name: lower_bound(PINS[name]) for name in RUNTIME} == {name: locked[name] for name in RUNTIME}
    assert all(lower_bound(PINS[name]) == version for name, version in locked.items() if name in PINS)


ASK_BY_NAME = {"find_spec", "import_module", "_import"}
"""Functions that are asked for a module by its name and cope with its absence."""


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Each module that a file imports, by its first name, and whether it is guarded.

    Guarded is what stands in a `try` that catches its absence, and what is asked for by name (`find_spec`,
    `import_module`).
    """
    tree = ast.parse(path.read_text())
    tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
    caught = [node for node in tries if any("ImportError" in ast.unparse(each.type or node) for each in node.handlers)]
    guarded = {id(node) for each in caught for statement in each.body for node in ast.walk(statement)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name.split(".")[0], id(node) in guarded) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0], id(node) in guarded
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ASK_BY_NAME:
            yield from ((name.value.split(".")[0], True) for name in node.args if isinstance(name, ast.Constant))


def packages_imported(path: Path) -> Iterator[tuple[str, bool]]:
    """The packages of others that a file imports, by their canonical names, and whether they are guarded."""
    alone = path.relative_to(ROOT).parts[0] != "aam"  # a script, which finds its neighbours by their bare names
    siblings = {file.stem for file in path.parent.glob("*.py")} if alone else set()
    given = set(sys.stdlib_module_names) | siblings | {"aam", "_typeshed"}  # the last is known to type checkers alone
    for module, guarded in imports_of(path):
        if module not in given:
            yield canonicalize_name(IMPORT_NAMES.get(module, module)), guarded


CODE = sorted(path for folder in ("aam", "debug", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
"""All code but the tests."""


def test_what_is_imported_without_a_guard_is_a_runtime_requirement() -> None:
    found = {(name, path) for path in CODE for name, guarded in packages_imported(path) if not guarded}
    missing = sorted(f"{path.relative_to(ROOT)}: {name}" for name, path in found if name not in RUNTIME)
    assert not missing, "a plain installation does not have these"
    assert set(RUNTIME) <= {name for name, _ in found} | {"tensorboard"}  # which torch imports for its writer


def test_what_is_imported_with_a_guard_names_its_extra_where_it_is_absent() -> None:
    found = {(name, path) for path in CODE for name, guarded in packages_imported(path) if guarded}
    assert {name for name, _ in found} >= {"unifrac", "pyarrow"}
    for name, path in found:
        extras = [extra for extra, requirements in EXTRAS.items() if name in requirements]
        assert any(f"'aam[{extra}]'" in path.read_text() for extra in extras), f"{path.name}: {name} of {extras}"


def test_a_guard_is_told_from_an_import(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "import a.b\ntry:\n    from c import d\nexcept ImportError:\n    import e\n"
        "try:\n    import f\nexcept ValueError:\n    pass\ndef g():\n    import h\nfind_spec('i')\n"
    )
    assert set(imports_of(tmp_path / "code.py")) == {
        ("a", False), ("c", True), ("e", False), ("f", False), ("h", False), ("i", True),
    }  # fmt: skip


def readme_commands(place: int) -> list[str]:
    """The lines of a code block of the README, the first is 0."""
    blocks = re.findall(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.split("#")[0].strip() for line in blocks[place].splitlines() if line.strip()]


def test_readme_begins_with_what_needs_no_training() -> None:
    install, *commands = readme_commands(0)
    assert install == "pip install -c constraints.txt ."
    assert [command.split()[:2] for command in commands] == [["aam", "place"], ["aam", "distance"], ["aam", "embed"]]
    assert not any("--model" in command or "--reference" in command for command in commands)


def test_readme_goes_on_with_the_two_commands_and_the_makefile_has_them() -> None:
    assert readme_commands(1) == ["make demo", "make test"]
    for command in readme_commands(1):
        plan = subprocess.run(
            [*command.split(), "--dry-run", "VENV=/nonexistent"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert plan.returncode == 0, plan.stderr


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.startswith("#!") and "set -euo pipefail" in script
    assert readme_commands(1)[1] in script.splitlines()


def test_readme_names_the_real_environment_file() -> None:
    assert "conda env create -f environment.yml" in (ROOT / "README.md").read_text()


def test_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert aam.__version__ in versions


def test_an_editable_installation_is_a_path_that_wins_over_a_clone_beside_a_notebook() -> None:
    """setuptools writes a path for a package whose folder is named, and else a finder that is asked after all paths."""
    assert SETUP["options"]["package_dir"].split() == ["=", "."]
