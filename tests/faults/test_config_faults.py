"""Entries 89 to 100: options, configuration files and switches that cannot be meant so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from attempts import SMALL_RUN, Attempt, Case, Entries, hold
from generated_samples import community, write_files

entry = Entries()


def pretrain(
    folder: Path, words: str, *options: str | Path, code: int = 2, environment: Mapping[str, str] | None = None
) -> Attempt:
    """An attempt to plan a run with these options."""
    write_files(community(samples=10, asvs=20, richness=12), folder)
    files = ["--table", folder / "table.tsv", "--tree", folder / "tree.nwk"]
    out = [] if "--output-dir" in options else ["--output-dir", folder / "out"]
    usual = [*SMALL_RUN, *([] if "--output-dir" in options else ["--dry-run"])]
    return Attempt(["pretrain", *files, *out, *usual, *options], words, code=code, environment=environment or {})


def yaml(folder: Path, text: str, words: str, code: int = 2) -> Attempt:
    """An attempt with this configuration file."""
    (folder / "run.yaml").write_text(text)
    return pretrain(folder, words, "--config", folder / "run.yaml", code=code)


@entry(89)
def unknown_key(folder: Path) -> Iterator[Attempt]:
    yield yaml(folder, "tokn_limit: 3", "run.yaml: unknown option 'tokn_limit'; did you mean 'token_limit'?")
    yield pretrain(folder, "No such option.*--token-limit", "--token-limits", "3")


@entry(90)
def number_that_yaml_reads_as_text(folder: Path) -> Attempt:
    return yaml(folder, "lr: 1e-4\ntoken_limit: 64", r"token limit +64\b", 0)


@entry(91)
def learning_rates(folder: Path) -> Iterator[Attempt]:
    for value in ("0", "-1"):
        yield pretrain(folder, f"--lr is {value}, expected more than 0", "--lr", value)
    for value in ("nan", "inf"):
        yield pretrain(folder, f"Invalid value for '--lr': '{value}' is not a valid float", "--lr", value)


@entry(92)
def warm_up_longer_than_the_run(folder: Path) -> Attempt:
    return pretrain(folder, "--warmup-fraction is 1.5, expected at least 0 and at most 1", "--warmup-fraction", "1.5")


@entry(93)
def token_limits(folder: Path) -> Iterator[Attempt]:
    yield pretrain(folder, "--token-limit is 0, expected at least 1", "--token-limit", "0")
    yield pretrain(folder, "10 samples of 10 have more than 1 ASVs", "--token-limit", "1", code=0)
    yield pretrain(folder, r"token limit +64\b.*: cuts (no|0) sample", "--token-limit", "64", code=0)


@entry(94)
def batch_larger_than_the_data(folder: Path) -> Attempt:
    return pretrain(folder, "batch size 9 is larger than the 8 training samples; use --batch-size 8 or less",
                    "--batch-size", "9")  # fmt: skip


@entry(95)
def words_of_yaml(folder: Path) -> Iterator[Attempt]:
    yield yaml(folder, "resume: maybe", "--resume is 'maybe', expected true or false")
    yield yaml(folder, "group_column: no", "group.column|'no'|no")


@entry(96)
def objects_of_yaml(folder: Path) -> Iterator[Attempt]:
    for tag in ("object/apply:os.system ['touch ran']", "name:os.system", "module:os"):
        yield yaml(folder, f"lr: !!python/{tag}", "run.yaml: not YAML|run.yaml")
        assert not (folder / "ran").exists()


@entry(97)
def switch_against_option(folder: Path) -> Attempt:
    words = "AAM_SAFE_CLAMP=1 overrides safe_clamp=False of the configuration"
    return pretrain(folder, words, code=0, environment={"AAM_SAFE_CLAMP": "1"})


@entry("98")
def output_that_is_taken(folder: Path) -> Iterator[Attempt]:
    (folder / "file").write_text("")
    yield pretrain(folder, "file is a file, expected a folder", "--output-dir", folder / "file")
    (folder / "old").mkdir()
    (folder / "old" / "manifest.json").write_text("{}")
    words = "--output-dir .*old holds another run; go on with it by --resume, or give another folder"
    yield pretrain(folder, words, "--output-dir", folder / "old")


@entry(99)
def unknown_switch(folder: Path) -> Iterator[Attempt]:
    yield pretrain(folder, "AAM_SAFE_CLAM.*AAM_SAFE_CLAMP", environment={"AAM_SAFE_CLAM": "1"})


def test_config(case: Case, tmp_path: Path) -> None:
    hold(case, tmp_path)


test_config = entry.parametrize()(test_config)
