#!/usr/bin/env python3
"""Check that aam installs and runs on a machine that has nothing.

Builds source archive and wheel from the tracked files and checks that both are complete. Then, for each supported
Python that is found, installs the wheel without extras into a new environment outside the checkout and runs every
command there once on the embedded example, and runs `make demo`, shortened, on the unpacked source archive in an
environment of its own.

    scripts/check_install.py                       with every supported Python of this machine
    scripts/check_install.py --python python3.13   with this one; may be given again
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DEMO_MINUTES = "0.2"
MOST_WHEEL = 30_000_000
"""Bytes of the wheel, most of which are the encoder and the reference that ship."""
STEPS = ["--max-steps", "2", "--no-preflight"]
TINY = ["--preset", "tiny", *STEPS]
DATA = {"--table": "table.biom", "--tree": "tree.nwk", "--metadata": "metadata.tsv"}


class Trial(NamedTuple):
    """A command of aam, in a folder with the files of `DATA`, and files that it must leave there."""

    arguments: list[str]
    files: Sequence[str] = ()


def data_options(*options: str) -> list[str]:
    """These options, each with its file of `DATA`."""
    return [part for option in options for part in (option, DATA[option])]


def run_files(run: str, picture: str) -> list[str]:
    """What every run leaves in its folder, and the picture of its kind."""
    return [f"{run}/{name}" for name in ("metrics.json", "summary.txt", "report.html", "curves.png", picture)]


AGE = ["--target", "age_months", "--task", "classification", "--folds", "2"]
V4 = ["--region", "v4", "--no-learn", "-o", "ref"]
TRIALS = [
    Trial(["--version"]),
    Trial(["--help"]),
    Trial(["preflight", "--example", "--preset", "tiny", "--seconds", "5"]),
    Trial(
        ["pretrain", "--example", *TINY, "--bundle-step", "2", "--output-dir", "run"],
        [*run_files("run", "unifrac.png"), "run/best/model.safetensors", "run/last/model.safetensors"],
    ),
    Trial(["prepare", *data_options("--table", "--tree"), "-o", "corpus"], ["corpus/manifest.json"]),
    Trial(
        ["reference", "--sequences", "tips.fasta", *data_options("--tree"), *V4],
        ["ref/reference.json"],
    ),
    Trial(["pretrain", "--corpus", "corpus", *TINY, "--output-dir", "joined"], ["joined/report.html"]),
    Trial(["embed", "--model", "run", *data_options("--table"), "-o", "embeddings.tsv"], ["embeddings.tsv"]),
    Trial(["distance", "--model", "run", *data_options("--table", "--tree"), "-o", "distances.tsv"], ["distances.tsv"]),
    Trial(
        ["distance", *data_options("--table"), "--reference", "ref", "--metric", "weighted", "-o", "weighted.tsv"],
        ["weighted.tsv"],
    ),
    Trial(
        ["place", *data_options("--table"), "--reference", "ref", "-o", "placed"],
        ["placed/insertion-tree.nwk", "placed/placements.jplace", "placed/placements.tsv"],
    ),
    Trial(["embed", *data_options("--table"), "-o", "shipped.tsv"], ["shipped.tsv"]),
    Trial(["place", *data_options("--table"), "-o", "on-shipped"], ["on-shipped/insertion-tree.nwk"]),
    Trial(["distance", *data_options("--table"), "-o", "on-shipped.tsv"], ["on-shipped.tsv"]),
    Trial(["models"]),
    Trial(["unifrac", *data_options("--table", "--tree"), "-o", "unifrac.tsv"], ["unifrac.tsv"]),
    Trial(
        ["train", *data_options("--table", "--metadata"), *AGE, *TINY, "--output-dir", "age"],
        [*run_files("age", "predictions.png"), "age/fold-1/last/model.safetensors", "age/predictions.tsv"],
    ),
    Trial(
        [
            "train",
            *data_options("--table", "--metadata"),
            *AGE,
            *STEPS,
            "--pretrained",
            "shipped",
            "--output-dir",
            "on",
        ],
        ["on/predictions.tsv"],
    ),
    Trial(["baseline", "--model", "age", "--tree", DATA["--tree"]], ["age/baselines.json"]),
    Trial(["predict", "--model", "age", *data_options("--table"), "-o", "predictions.tsv"], ["predictions.tsv"]),
    Trial(["report", "age", "-o", "age.html"], ["age.html"]),
    Trial(["report", "run"], ["run/report.html"]),
    Trial(
        ["explain", "--model", "age", *data_options("--table"), "--max-samples", "4", "-o", "drivers.tsv"],
        ["drivers.tsv", "drivers.png", "drivers.json"],
    ),
    Trial(["export", "--model", "run", "--what", "asvs", "-o", "asvs.pt2"], ["asvs.pt2"]),
    Trial(["replay", "run/bundles/step-2/bundle.safetensors", "--locate"]),
    Trial(["precision", "run"]),
    Trial(["ledger", "show", "run"]),
]
DEBUG_SCRIPTS = {
    "debug_nan_token_limit": ["--preset", "tiny", "--batch-size", "2"],
    "investigate_all_padding": ["--preset", "tiny", "--batch-size", "2"],
    "investigate_batching_logic": ["--preset", "tiny", "--batch-size", "2", "--epochs", "1"],
    "investigate_nucleotide_nan": ["--preset", "tiny", "--batch-size", "2"],
    "replay_step": ["run/bundles/step-2/bundle.safetensors"],
}
NOT_IN_ARCHIVE = {".gitignore"}


class Failed(Exception):
    """A step did not end as it must; its text says which, and what it printed."""


def run(command: Sequence[str | Path], folder: Path) -> float:
    """Run a command in a folder, without what this environment adds to Python's; -> its seconds."""
    keep = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    started = time.monotonic()
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=keep, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        shown = "\n".join(done.stdout.splitlines()[-30:])
        raise Failed(f"exit code {done.returncode} of {' '.join(map(str, command))}\n{shown}")
    return time.monotonic() - started


def tracked() -> list[str]:
    """The files of the project."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if listed.returncode:
        raise Failed(f"{ROOT} is no git checkout, and only git knows which files belong to the project")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def supported_pythons() -> list[str]:
    """The versions that setup.cfg names: 3.11, ..."""
    return re.findall(r"Programming Language :: Python :: (3\.\d+)", (ROOT / "setup.cfg").read_text(encoding="utf-8"))


def find_python(version: str) -> Path | None:
    """A Python of this version that can make environments: of the path, of pyenv or of the system."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path, of_pyenv = shutil.which(f"python{version}"), sorted(pyenv.glob(f"{version}.*/bin/python"))
    candidates = [Path(on_path)] if on_path else []
    candidates += [*of_pyenv, Path(f"/usr/bin/python{version}")]
    asked = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        try:
            done = subprocess.run(
                [candidate, "-c", asked], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:
            continue
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return None


def build(python: Path, folder: Path) -> tuple[Path, Path]:
    """Build in a copy of the tracked files, so that nothing else gets in; -> source archive and wheel."""
    copy, tools = folder / "copy", folder / "tools"
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    run([python, "-m", "venv", tools], folder)
    run([tools / "bin" / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", "build"], folder)
    run([tools / "bin" / "python", "-m", "build", "--outdir", folder / "dist", copy], folder)
    (archive,), (wheel,) = ((folder / "dist").glob(kind) for kind in ("*.tar.gz", "*.whl"))
    return archive, wheel


def check_contents(archive: Path, wheel: Path) -> None:
    """Raise `Failed` unless the wheel has the package and nothing else, and the source archive all tracked files.

    The wheel may have `MOST_WHEEL` bytes.
    """
    names = set(tracked())
    if (size := wheel.stat().st_size) > MOST_WHEEL:
        raise Failed(f"{wheel.name}: {size:,} bytes, expected at most {MOST_WHEEL:,}")
    with zipfile.ZipFile(wheel) as file:
        packed = {name for name in file.namelist() if ".dist-info/" not in name}
    package = {name for name in names if name.startswith("aam/")}
    if packed != package:
        raise Failed(f"{wheel.name}: differs from the files of aam/ by {sorted(packed ^ package)}")
    with tarfile.open(archive) as file:
        packed = {name.partition("/")[2] for name in file.getnames()}
    if missing := names - packed - NOT_IN_ARCHIVE:
        raise Failed(f"{archive.name}: lacks {sorted(missing)}; MANIFEST.in names what goes in")


@contextmanager
def unpacked(archive: Path, folder: Path) -> Iterator[Path]:
    """The unpacked source archive, called `aam` like a clone, in a new folder, which is removed afterwards.

    With the environment that checks put beside it the folder holds gigabytes.
    """
    shutil.unpack_archive(archive, folder)
    yield (folder / archive.name.removesuffix(".tar.gz")).rename(folder / "aam")
    shutil.rmtree(folder)


def check_wheel(wheel: Path, python: Path, source: Path) -> None:
    """Install the wheel without extras beside `source`, and run every command and debug script in an empty folder."""
    venv, work = source.parent / "venv", source.parent / "work"
    work.mkdir()
    run([python, "-m", "venv", venv], work)
    binaries = venv / "bin"
    seconds = run([binaries / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel], work)
    report("pip install the wheel, no extras", seconds)
    run([binaries / "pip", "check"], work)
    here = "import shutil; from aam.datasets import example; [shutil.copy(path, path.name) for path in example()]"
    run([binaries / "python", "-c", here], work)
    tips = (
        "import aam; open('tips.fasta', 'w').writelines(f'>{t}\\n{t}\\n' for t in aam.read_tree('tree.nwk').tip_names)"
    )
    run([binaries / "python", "-c", tips], work)
    for trial in TRIALS:
        seconds = run([binaries / "aam", *trial.arguments], work)
        if missing := [name for name in trial.files if not (work / name).exists()]:
            raise Failed(f"aam {' '.join(trial.arguments)}: left no {', '.join(missing)}")
        report(f"aam {trial.arguments[0]}", seconds)
    for name, options in DEBUG_SCRIPTS.items():
        report(f"debug/{name}.py", run([binaries / "python", source / "debug" / f"{name}.py", *options], work))


def check_demo(python: Path, source: Path) -> None:
    """Run the first command of the README on the unpacked source archive, with less training."""
    venv = source.parent / "venv"
    seconds = run(["make", "demo", f"MINUTES={DEMO_MINUTES}", f"VENV={venv}", f"PYTHON={python}"], source)
    if missing := [name for name in run_files("aam-example", "unifrac.png") if not (source / name).exists()]:
        raise Failed(f"make demo: left no {', '.join(missing)}")
    report(f"make demo MINUTES={DEMO_MINUTES}", seconds)
    run([venv / "bin" / "python", "-c", "import aam; aam.open_model"], source.parent)  # beside the clone, as a notebook


def report(what: str, seconds: float) -> None:
    """A line of progress."""
    print(f"  {what:<40}{seconds:>8.1f} s", flush=True)


def main() -> int:
    """Check with each Python; exit code 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", type=Path, help="a Python to check with (default: all supported)")
    chosen: list[Path] | None = parser.parse_args().python
    found = chosen or [path for version in supported_pythons() if (path := find_python(version)) is not None]
    if not found:
        print(f"FAILED: none of the Pythons {', '.join(supported_pythons())} is here", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory(prefix="aam-install-") as name:
            archive, wheel = build(found[0], Path(name))
            check_contents(archive, wheel)
            print(f"{archive.name}, {wheel.name}: complete", flush=True)
            for python in found:
                print(f"{python}:", flush=True)
                for check in (partial(check_wheel, wheel), check_demo):
                    with unpacked(archive, Path(name) / "source") as source:
                        check(python, source)
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    print(f"aam installs and runs with {', '.join(map(str, found))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
