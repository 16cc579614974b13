"""Paths that cannot be used are refused in one line before any work, whichever option or file names them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aam.config import path_of
from aam.errors import CheckpointError, ConfigError, InputError, TableError
from aam.io.files import check_file, refuse_inside, refuse_unwritable
from aam.io.output import check_output, new_file
from aam.paths import LONGEST_NAME, input_path, output_path, plain_path


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder with a file, and with everything that is none."""
    (tmp_path / "file").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "purged")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    return tmp_path


ODD = [
    ("pipe", "a pipe, not a regular file; write it to a file first"),
    ("zero", "a device, not a regular file"),
    ("dangling", "a link to .*, which does not exist"),
    ("circle", "Too many levels of symbolic links; give another path"),
]


@pytest.mark.parametrize(("name", "reason"), ODD)
def test_what_is_no_file_is_neither_read_nor_written(odd: Path, name: str, reason: str) -> None:
    for rule in (input_path, output_path):
        with pytest.raises(ConfigError, match=f"^--table .*{name}: {reason}"):
            rule("--table", odd / name)
    with pytest.raises(TableError, match=reason):  # a reader that is called by a program
        check_file(odd / name, "--table", TableError)
    with pytest.raises(ConfigError, match=reason):
        check_output(odd / name, [""])


def test_sockets_and_files_that_were_deleted_while_open_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(ConfigError, match="a socket, not a regular file"):
            input_path("--tree", tmp_path / "s")
    with (tmp_path / "gone").open("w") as handle:
        (tmp_path / "gone").unlink()
        with pytest.raises(ConfigError, match="a deleted file, not a regular file"):
            input_path("--tree", Path(f"/dev/fd/{handle.fileno()}"))


def test_files_folders_links_and_names_of_models_pass(odd: Path) -> None:
    for name in ("file", "link", "", "not-there", "owner/name@v1"):
        assert input_path("--model", odd / name) == odd / name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "expected a path"),
        ("  ", "expected a path"),
        ("a\nb", r"control character '\\n'"),
        ("a\x1b[2Jb", r"control character '\\x1b'"),
        ("a\x7fb", r"control character '\\x7f'"),
        ("a\0b", r"control character '\\x00'"),
        ("caf\udce9", "not UTF-8"),
        ("x" * (LONGEST_NAME + 1), "File name too long"),
        ("ö" * (LONGEST_NAME // 2 + 1), "File name too long"),
        ("a/" * 2000, "File name too long"),
        ("~nobody-of-this-name/x", "without ~"),
    ],
)
def test_names_that_records_and_messages_cannot_hold_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        plain_path("--table", name)
    text = str(refused.value)
    assert text.isprintable() and len(text) < 300
    text.encode()


def test_a_tilde_is_the_home_folder_wherever_a_path_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plain_path("-o", Path("~/größe.tsv")) == tmp_path / "größe.tsv"
    assert path_of("table", "~/a.tsv") == tmp_path / "a.tsv"


def test_the_folder_of_an_output_is_a_folder_that_can_be_written_to(odd: Path) -> None:
    for inside, reason in (
        ("file/x", "file is a file, expected a folder"),
        ("link/x/y", "link is a file, expected a folder"),
        ("dangling/x", "a link to .*, which does not exist"),
        ("circle/x", "Too many levels"),
        ("pipe/x", "a pipe, not a regular file"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            refuse_unwritable(odd / inside, "--output-dir", CheckpointError)
    refuse_unwritable(odd / "new" / "folder", "--output-dir", CheckpointError)
    with pytest.raises(InputError, match=r"/proc cannot be written to"):  # root may write to it, and yet cannot
        refuse_unwritable(Path("/proc/new"), "--output-dir", CheckpointError)
    assert not (odd / "new").exists() and not list(odd.glob(".partial-*"))


def test_nothing_is_written_into_a_checkpoint_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "run" / "last" / "sub").mkdir(parents=True)
    (tmp_path / "run" / "last" / "model.safetensors").write_text("weights")
    for folder in (tmp_path / "run" / "last", tmp_path / "run" / "last" / "sub" / "new"):
        with pytest.raises(CheckpointError, match="last is a checkpoint, which its run replaces as a whole"):
            refuse_inside(folder, "--output")
    refuse_inside(tmp_path / "run", "--output")


def test_of_two_commands_that_write_one_file_the_second_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"

    def write_while_another_does() -> None:
        with new_file(path) as partial:
            partial.write_text("second")
            path.write_text("first")

    with pytest.raises(ConfigError, match="the file exists and is not overwritten"):
        write_while_another_does()
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_the_locale_may_read_names_in_another_encoding(tmp_path: Path) -> None:
    """In plain ASCII a name with other letters could not be recorded; it is refused, with the remedy."""
    (tmp_path / "größe").mkdir()
    code = "import sys; from aam.cli import main; sys.exit(main(['ledger', 'show', *sys.argv[1:]]))"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for folder, arguments in ((tmp_path, ["größe"]), (tmp_path / "größe", ["run"])):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder,
            env=os.environ | plain,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 2 and done.stdout == b""
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith("Error: ") and "PYTHONUTF8=1" in line


def test_every_path_of_a_configuration_has_a_rule() -> None:
    """Options, arguments and config files of all commands: a path without one would be opened as it is."""
    import click

    from aam.cli import COMMANDS, group
    from aam.cli.options import PathOption

    context = click.Context(group)
    commands = [found for name in COMMANDS if (found := group.get_command(context, name)) is not None]
    for command in [*commands, *(inner for each in commands for inner in getattr(each, "commands", {}).values())]:
        for option in command.params:
            if isinstance(option.type, click.Path | click.File):
                assert isinstance(option.type, PathOption), option
                written = option.name in ("output", "output_dir", "write_tree", "cache")
                assert option.type.rule is (output_path if written else input_path), option
