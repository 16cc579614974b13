"""The `aam` command itself: quick to answer, one line for an error, and the right exit code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch

from aam import cli
from aam.cli.options import Headed, HeadedCommand
from aam.errors import ConfigError, EmptySampleError, Interrupted, NonFiniteError


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "aam", *arguments], capture_output=True, text=True, check=False)


def test_help_names_every_command_and_imports_none():
    loaded = "import sys, aam.cli; aam.cli.main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)
    assert not any(f"'{heavy}'" in done.stdout for heavy in ("torch", "numpy", "skbio", "biom", "aam.cli.pretrain"))


def test_help_is_quick():
    before = os.times().children_user
    assert run("--help").returncode == 0
    assert os.times().children_user - before < 1  # 0.1 s of work; torch alone would take longer than this


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_can_be_found_and_has_help(name: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main([name, "--help"]) == 0
    assert f"Usage: aam {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "Error: No such command 'nonsense'. See `aam --help`."),
        (["train", "--group-colum", "x"], "Error: No such option '--group-colum'. Did you mean '--group-column'? See"),
        (["trian"], "Error: No such command 'trian'; did you mean 'train'? See `aam --help`."),
        (
            ["train", "--quantiles", "0.1", "0.9"],
            "Error: Got unexpected extra argument (0.9); an option takes one value, repeat it for more (--quantiles "
            "0.1 --quantiles 0.9). See `aam train --help`.",
        ),
        (
            ["embed", "--table", "a.biom", "--model", "run", "--table", "b.biom", "-o", "x.tsv"],
            "Error: --table is given 2 times, expected once; leave the others out (`aam prepare` joins tables). See "
            "`aam embed --help`.",
        ),
        (["unifrac", "--tabel", "x"], "Error: No such option '--tabel'."),
        (
            ["unifrac", "--metric", "euclidean", "-o", "x.tsv"],
            "Error: Invalid value for '--metric': 'euclidean' is not",
        ),
        (["ledger"], "Error: Missing command. See `aam ledger --help`."),
        (["preflight", "--seconds", "nan"], "Error: --seconds is nan, expected more than 0"),
        (["preflight", "--seconds", "0"], "Error: --seconds is 0, expected more than 0"),
        (["unifrac"], "Error: Missing option '-o' / '--output'. See `aam unifrac --help`."),
        (["unifrac", "--table", "absent.biom", "--tree", "t.nwk", "-o", "x.tsv"], "Error: absent.biom does not exist"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(message)


def test_options_other_than_files_may_be_repeated_and_some_files_too(capsys: pytest.CaptureFixture[str]):
    tables = ["--table", "absent-1.biom", "--table", "absent-2.biom"]
    assert cli.main(["prepare", *tables, "--tree", "t.nwk", "-o", "x"]) == 2
    assert "absent-1.biom does not exist" in capsys.readouterr().err
    steps = ["--max-steps", "1", "--max-steps", "2"]
    assert cli.main(["pretrain", *steps, "--table", "absent.biom", "--tree", "t.nwk", "--dry-run"]) == 2
    assert "absent.biom does not exist" in capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]):
    assert cli.main([]) == 0
    assert "\nStart:\n  pretrain " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (ConfigError("--lr is\n0"), "Error: --lr is 0", 2),
        (EmptySampleError("s1", 0, 0), "Error: Sample s1 has no ASVs with count > 0 (num_asvs=0, counts_sum=0)", 2),
        (NonFiniteError("NaN in loss"), "Error: NaN in loss", 3),
        (Interrupted("stopped; checkpoint in run/last"), "Error: stopped; checkpoint in run/last", 4),
        (click.Abort(), "Error: interrupted; start again", 4),
        (OSError(28, "No space left on device", "run/last"), "Error: No space left on device: run/last", 1),
        (RuntimeError("safetensors: No space left on device (os error 28)"), "Error: No space left on device; make", 1),
        (NotADirectoryError(20, "Not a directory", "a/b"), "Error: Not a directory: a/b; give another path", 2),
        (OSError(122, "Disk quota exceeded"), "Error: Disk quota exceeded; make room, or write elsewhere", 1),
        (OSError(27, "File too large", "a.h5"), "Error: File too large: a.h5; raise the limit of the size of files", 1),
        (OSError(5, "Input/output error", b"a.h5"), "Error: Input/output error: a.h5; the drive or its network has", 1),
        (OSError(30, "Read-only file system", Path("a")), "Error: Read-only file system: a; write elsewhere", 1),
        (OSError(24, "Too many open files", "a"), "Error: Too many open files: a; raise the limit of open files", 1),
        (OSError(116, "Stale file handle", "a"), "Error: Stale file handle: a; the drive or its network has failed", 1),
        (
            FileNotFoundError(2, "No such file or directory", "a"),
            "Error: No such file or directory: a; it, or its fol",
            1,
        ),
        (
            OSError("Unable to synchronously write (errno = 28, error message = 'No space left on device')"),
            "Error: No s",
            1,
        ),
        (OSError("Not enough free space to write 8000 bytes"), "Error: No space left on device; make room", 1),
        (MemoryError(), "Error: not enough memory; use a smaller --batch-size", 1),
        (OSError(12, "Cannot allocate memory", "a"), "Error: not enough memory; use a smaller --batch-size", 1),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000 bytes. Error code 12"),
            "Error: not enough memory (8000 bytes more were asked for); use a smaller --batch-size",
            1,
        ),
        (
            torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139 GiB"
            ),
            "Error: not enough memory on the GPU (2.00 GiB more were asked for); use a smaller --batch-size (with",
            1,
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
            "Error: not enough memory on the GPU; ",
            1,
        ),
        (RuntimeError("std::bad_alloc"), "Error: not enough memory; ", 1),
        (
            RuntimeError("unable to mmap 64 bytes from file </x>: Cannot allocate memory (12)"),
            "Error: not enough memory; ",
            1,
        ),
        (RuntimeError("can't start new thread"), "Error: can't start new thread; raise the limit of processes", 1),
        (ConnectionError("[Errno 32] Broken pipe"), "Error: a process of this run has ended", 1),
        (ModuleNotFoundError("No module named 'scipy'", name="scipy"), "Error: a package cannot be imported", 1),
    ],
)
def test_what_an_error_tells(error: Exception, text: str, code: int):
    said, returned = cli.explain_error(error)
    assert said.startswith(text)
    assert returned == code


def test_an_error_nobody_foresaw_is_called_a_bug_with_its_place():
    try:
        {}["key"]
    except KeyError as error:
        said, code = cli.explain_error(error)
    assert said.startswith("Error: this is a bug in aam ")
    assert "KeyError: 'key' (test_command_group.py, line " in said
    assert "\n" not in said
    assert code == 1


def test_a_traceback_is_shown_with_debug_alone(capsys: pytest.CaptureFixture[str]):
    arguments = ["unifrac", "--table", "absent.biom", "--tree", "t.nwk", "-o", "x.tsv"]
    assert cli.main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert cli.main(["--debug", *arguments]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error():
    pipe = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m aam unifrac --help | head -n 1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert pipe.stdout.startswith("Usage:")
    assert pipe.stderr == ""


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("aam, version ")


def test_the_many_options_of_a_run_stand_under_headings(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["train", "--help-all"]) == 0
    printed = capsys.readouterr().out
    headings = [line.removesuffix(":") for line in printed.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == [
        "Options",
        "Data",
        "Target",
        "Learner",
        "Start and head",
        "Encoder",
        "Optimiser",
        "Folds",
        "Run",
        "Health",
    ]
    assert printed.index("\nOptimiser:") < printed.index("  --encoder-rate ") < printed.index("\nFolds:")


@pytest.mark.parametrize("name", ["pretrain", "train", "baseline", "preflight", "precision"])
def test_help_lists_about_a_dozen_options_and_names_the_way_to_all(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None
    every = {option.opts[0] for option in command.params if isinstance(option, click.Option)}

    def listed(option: str) -> set[str]:
        assert cli.main([name, option]) == 0
        text = capsys.readouterr().out
        assert (f"more options: aam {name} --help-all" in text) == (option == "--help")
        return set(re.findall(r"^  (?:-[a-z], )?(--[a-z-]+)", text, re.MULTILINE)) & every

    assert 7 <= len(listed("--help")) <= 16
    assert len(listed("--help-all")) >= len(every) - 1  # but -o/--output, which stands behind its short form


def test_common_options_exist_and_have_a_heading() -> None:
    for name in ("pretrain", "train", "baseline", "preflight", "precision"):
        command = cli.group.get_command(click.Context(cli.group), name)
        assert isinstance(command, HeadedCommand)
        assert command.common <= {option.name for option in command.params if isinstance(option, Headed)}


def test_what_is_written_is_named_by_the_same_letter_everywhere() -> None:
    for name in cli.COMMANDS:
        command = cli.group.get_command(click.Context(cli.group), name)
        assert command is not None
        written = [option for option in command.params if option.name in {"output", "output_dir"}]
        assert all(option.opts[0] == "-o" for option in written), name
