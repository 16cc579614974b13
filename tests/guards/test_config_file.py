"""A config file says what is written in it: no value of YAML 1.1 becomes another one, and no nesting grows."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam.cli import main
from aam.config import FinetuneConfig, from_options, parse_yaml
from aam.errors import ConfigError


def options(text: str) -> FinetuneConfig:
    return from_options(FinetuneConfig, parse_yaml(text, "c.yaml"))


@pytest.mark.parametrize(
    ("text", "part", "field", "value"),
    [
        ("max_steps: 05000", "run", "max_steps", 5000),
        ("rarefy_depth: 05000", "data", "rarefy_depth", "05000"),
        ("lr: 1e-4", "optim", "lr", 1e-4),
        ("lr: .5", "optim", "lr", 0.5),
        ("class_order: [no, yes]", "target", "class_order", ("no", "yes")),
        ("class-order:\n- 01\n- 1.10\n- on", "target", "class_order", ("01", "1.10", "on")),
        ("where: 2020-01-01=1:30", "target", "where", ("2020-01-01=1:30",)),
        ("freeze: yes", "head", "freeze", True),
        ("freeze: Off", "head", "freeze", False),
        ("max_steps: ~", "run", "max_steps", None),
        ("group_column: '~'", "data", "group_column", "~"),
        ("target: age", "target", "target", ("age",)),
        ("target: ~", "target", "target", ()),
        ("dim: '64'", "model", "dim", 64),
        ("%YAML 1.1\n---\ndim: 64\n...\n", "model", "dim", 64),
        ("device: !!str cpu", "run", "device", "cpu"),
        ("table: ~/t.tsv", "data", "table", (Path("~/t.tsv"),)),
    ],
)
def test_values_are_what_is_written(text: str, part: str, field: str, value: object):
    assert getattr(getattr(options(text), part), field) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_steps: 1:30", "--max-steps is '1:30', expected a whole number"),
        ("dim: 0x20", "--dim is '0x20', expected a whole number"),
        ("dim: 1_000", "--dim is '1_000', expected a whole number"),
        ("dim: 1e3", "--dim is '1e3', expected a whole number"),
        ("dim: ３２", "--dim is '３２', expected a whole number"),
        ("dim: " + "9" * 5000, "--dim is '99.*…, expected a whole number"),
        ("lr: .inf", "--lr is '.inf', expected a number"),
        ("lr: nan", "--lr is 'nan', expected a number"),
        ("seed: yes", "--seed is 'yes', expected a whole number"),
        ("freeze: 1", "--freeze is '1', expected true or false"),
        ("dim: ~", "--dim is None, expected a whole number"),
        ("class_order: [~, a]", "--class-order is None, expected text"),
        ("batch_size: 8\nbatch-size: 4", "c.yaml, line 2: 'batch-size' is given twice"),
        ("a: &x 1\nb: *x", "c.yaml, line 1: found the mark '&x'"),
        ("<<: {a: 1}", "line 1: found '<<' as the name of an option"),
        ("table: !!python/object/apply:os.system [ls]", "line 1: found the tag 'tag:yaml.org,2002:python"),
        ("table: !!binary aGVsbG8=", "line 1: found the tag 'tag:yaml.org,2002:binary'"),
        ("table: !!set {a, b}", "line 1: found the tag"),
        ("\ntable: {a: 1}", "c.yaml, line 2: table is keys with values, expected one value, or a list of values"),
        ("dim: [[1]]", "line 1: dim is a list, expected one value"),
        ("dim: " + "[" * 100_000, "line 1: dim is a list"),
        ("{a: " * 100_000, "line 1: a is keys with values"),
        ("dim:\t32", "not YAML .*line 1, column 5"),
        ("dim: 32\n---\ndim: 64\n", "line 2: a second document begins"),
        ("", "no options in it"),
        ("# nothing", "no options in it"),
        ("~", "no options in it"),
        ("text", "line 1: found a single value"),
        ("- a", "line 1: found a list"),
        ("? [a]\n: 3", "line 1: the name of an option is a list"),
        ("~: 3", "line 1: found '' as the name of an option"),
        ("dim: [1", "not YAML"),
        ("dim: \x07", "not YAML"),
    ],
    ids=lambda text: text[:20],
)
def test_refusals_are_one_line_and_at_once(text: str, words: str):
    start = time.process_time()
    with pytest.raises(ConfigError, match=words) as no:
        options(text)
    assert "\n" not in str(no.value) and time.process_time() - start < 10


def test_references_to_references_do_not_grow():
    lines = [
        "a: &a [x, x]",
        *(f"{new}: &{new} [*{old}, *{old}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)),
    ]
    with pytest.raises(ConfigError, match="the mark '&a'"):
        parse_yaml("\n".join(lines), "c.yaml")


@given(st.text(max_size=60) | st.lists(st.sampled_from("a: b\n-[]{}&*!|>'\"#%~\t,?1"), max_size=40).map("".join))
def test_any_text_is_read_or_refused_in_one_line(text: str):
    refusal = "c.yaml"
    try:
        assert all(isinstance(key, str) for key in parse_yaml(text, "c.yaml"))
    except ConfigError as no:
        refusal = str(no)
    assert "\n" not in refusal and refusal.startswith("c.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"dim: 3\xff", "line 1 is not UTF-8"),
        ("dim: 32\n".encode("utf-16"), "UTF-16 or UTF-32, expected text; save it as UTF-8"),
        (b"", "empty file"),
        (b"dim: " + b"x" * 2_000_000, "longer than 1,000,000 characters"),
        (b"dry_run: maybe", "--dry-run is 'maybe', expected true or false"),
    ],
)
def test_files_that_are_no_config(content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    assert main(["pretrain", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert re.search(words, error) and error.count("\n") == 1


@pytest.mark.parametrize("text", ["３２", "1_000", "0x10", "1e3", "32.0"])
def test_the_command_line_reads_numbers_by_the_same_rule(text: str, capsys: pytest.CaptureFixture):
    assert main(["pretrain", "--example", "--dim", text, "--dry-run"]) == 2
    assert f"Invalid value for '--dim': {text!r} is not a valid integer" in capsys.readouterr().err


def test_a_flag_of_a_config_file_that_is_no_is_off(tmp_path: Path, capsys: pytest.CaptureFixture):
    """As text, `no` would be true."""
    (tmp_path / "c.yaml").write_text("example: true\ndry_run: no\nresume: no\noutput_dir: /dev/null/x\npreset: tiny\n")
    assert main(["pretrain", "--config", str(tmp_path / "c.yaml")]) == 2
    assert "--output-dir" in capsys.readouterr().err
