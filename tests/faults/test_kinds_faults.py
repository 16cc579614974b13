"""One case, or a few, of each kind of fault that users reported, through the command line."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from attempts import Attempt, Case, Entries, hold
from generated_samples import community, write_files
from parsers import ASVS, COUNTS, SAMPLES
from test_biom_faults import table, unifrac
from test_checkpoint_faults import embed, model
from test_config_faults import pretrain, yaml
from test_metadata_faults import COUNT, text, train

entry = Entries()


def rows(order: Sequence[int] = range(4), corner: str = "#OTU ID") -> list[str]:
    """The lines of the table as text, its ASVs in this order."""
    found = ["\t".join([corner, *SAMPLES])]
    return found + ["\t".join([ASVS[row], *(f"{count:.0f}" for count in COUNTS[:, row])]) for row in order]


def from_text(folder: Path, content: str | bytes, words: str, code: int = 2, name: str = "table.tsv") -> Attempt:
    """An attempt with this text as the table."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return unifrac(folder, words, code, name)


@entry("paths")
def files_that_are_none(folder: Path) -> Iterator[Attempt]:
    os.mkfifo(folder / "pipe")
    yield unifrac(folder, "pipe.*(pipe|regular file|FIFO)", name="pipe")
    (folder / "loop").symlink_to("loop")
    yield unifrac(folder, "loop.*link|Too many levels|loop", name="loop")
    (folder / "nowhere").symlink_to(folder / "absent")
    yield unifrac(folder, "nowhere.*(does not exist|link)", name="nowhere")


@entry("paths")
def outputs_that_lead_nowhere(folder: Path) -> Iterator[Attempt]:
    table(folder).close()
    sound = unifrac(folder, "", 2).arguments[:-1]
    (folder / "link.tsv").symlink_to(folder / "absent" / "out.tsv")
    yield Attempt([*sound, folder / "link.tsv"], "link.tsv", folder / "link.tsv")
    yield Attempt([*sound, folder / "absent" / "out.tsv"], "absent", folder / "absent")
    yield Attempt([*sound, "~nobody-here/out.tsv"], "~nobody-here", "~nobody-here")


@entry("content")
def names_that_say_something_else(folder: Path) -> Iterator[Attempt]:
    sound = "\n".join(rows()) + "\n"
    for name in ("table.gz", "table.tar", "table.zst", "table.biom"):
        yield from_text(folder, sound, "3 samples with 4 ASVs", 0, name)
    yield from_text(folder, gzip.compress(sound.encode()), "3 samples with 4 ASVs|packed by gzip", 0, "table.tsv")


@entry("content")
def layouts_of_other_programs(folder: Path) -> Iterator[Attempt]:
    mothur = [line.split("\t") for line in rows(corner="Representative_Sequence")]
    for row in mothur:
        row.insert(1, "total" if row[0].startswith("R") else str(sum(map(int, row[1:]))))
    yield from_text(folder, "\n".join(map("\t".join, mothur)), "3 samples with 4 ASVs", 0)
    without_corner = "\n".join([rows()[0].removeprefix("#OTU ID\t"), *rows()[1:]])
    yield from_text(folder, without_corner, "3 samples with 4 ASVs", 0)


@entry("content")
def placements_as_a_tree(folder: Path) -> Attempt:
    table(folder).close()
    jplace = json.dumps({"tree": "((ACGT:1{0},TTTT:2{1}):1{2},AACC:1{3});", "placements": [], "version": 3})
    return replace(unifrac(folder, "placements|jplace", tree=jplace), file=folder / "tree.nwk")


@entry("sameness")
def rows_in_another_order(folder: Path) -> Iterator[Attempt]:
    """Rarefied UniFrac is the same file whatever the order of the rows."""
    found = []
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        attempt = from_text(folder, "\n".join(rows(order)), "3 samples", 0)
        yield replace(attempt, arguments=[*attempt.arguments, "--rarefy-depth", "3"])
        found.append((folder / "out.tsv").read_text())
    assert found[0] == found[1]


@entry("sameness")
def classes_that_look_alike(folder: Path) -> Attempt:
    sites = ["gut", "gut\u200b", "skin", "skin"] * (COUNT // 4)
    return train(folder, text(sites), "(?i)look|alike|spell|differ", 0, ["--task", "classification"])


@entry("silence")
def reads_that_the_token_limit_cuts(folder: Path) -> Attempt:
    return pretrain(folder, r"token limit.*10 samples.*reads|cuts.*reads", "--token-limit", "4", code=0)


@entry("silence")
def numbers_that_are_not(folder: Path) -> Iterator[Attempt]:
    fullwidth = "\n".join(rows()).replace("\t5\t", "\t\uff15\t")
    yield from_text(folder, fullwidth, "'\uff15' has digits of another script")
    dose = [*(str(row % 5) for row in range(COUNT - 1)), "low"]
    yield train(folder, text(dose=dose), "dose.*'low'", 2, ["--covariate", "dose"])


@entry("silence")
def yaml_of_old(folder: Path) -> Iterator[Attempt]:
    for line in ("seed: 1:30", "accumulate: no", "seed: 1\nseed: 2"):
        yield yaml(folder, line, "seed|accumulate")


@entry("hangs")
def table_that_another_program_has_locked(folder: Path) -> Iterator[Attempt]:
    """Refused by what it is, and not as damaged."""
    table(folder).close()
    with (folder / "table.biom").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield unifrac(folder, "is locked by another program that has it open.*; close it there")


@entry("machine")
def file_size_limit(folder: Path) -> Attempt:
    write_files(community(samples=40, asvs=20, richness=12), folder)
    found = unifrac(folder, "File too large.*out.tsv", 1, "table.tsv", (folder / "tree.nwk").read_text())
    return replace(found, file_size=4096)


@entry("runs")
def records_nested_deep_or_of_other_types(folder: Path) -> Iterator[Attempt]:
    deep = "[" * 100_000 + "]" * 100_000
    for content in (
        deep,
        '{"format": 1, "kind": ' + deep + "}",
        '{"format": [], "kind": []}',
        '{"format": 1, "kind": []}',
    ):
        model(folder).with_name("config.json").write_text(content)
        yield embed(folder, "config.json|not a readable checkpoint")


@entry("memory")
def sizes_that_cannot_be(folder: Path) -> Iterator[Attempt]:
    sizes = {"--branches": "1000000000", "--dim": "1000000", "--max-bp": "1000000000", "--pool-queries": "100000000",
             "--asv-layers": "10000", "--accumulate": "1000000"}  # fmt: skip
    for option, size in sizes.items():
        yield pretrain(folder, option, option, size)


@entry("environment")
def variables_of_a_site(folder: Path) -> Iterator[Attempt]:
    yield pretrain(folder, "samples", code=0, environment={"AAM_CLUSTER_QUEUE": "long"})
    yield pretrain(folder, "AAM_SAFE_CLAM.*AAM_SAFE_CLAMP", environment={"AAM_SAFE_CLAM": "1"})


def test_kinds(case: Case, tmp_path: Path) -> None:
    hold(case, tmp_path)


test_kinds = entry.parametrize()(test_kinds)
