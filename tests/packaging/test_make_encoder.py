"""The recipe of the shipped encoder: which studies it takes, what it makes anew, and what its card says."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

ROOT = Path(__file__).parents[2]
INFANTS = ROOT / "aam" / "datasets" / "infants"


@pytest.fixture(scope="module")
def scripts() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture
def make_encoder(scripts: None) -> ModuleType:
    import make_encoder

    return make_encoder


@pytest.fixture
def stages(scripts: None) -> ModuleType:
    import encoder_stages

    return encoder_stages


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A study with a tree of its own, two without, and a folder that has a tree alone."""
    folder = tmp_path / "studies"
    for name, files in {
        "own": ("table.biom", "tree.nwk"),
        "a": ("table.biom",),
        "b": ("table.biom",),
        "r": ("tree.nwk",),
    }.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            shutil.copy(INFANTS / file, folder / name / file)
    return folder


def test_studies_without_a_tree_share_the_one_that_lies_alone(make_encoder: ModuleType, studies: Path) -> None:
    found = make_encoder.find_studies([studies], ["b"])
    assert [(source.name, source.tree.parent.name) for source in found] == [("a", "r"), ("own", "own")]


def test_unknown_and_treeless_studies_are_refused(make_encoder: ModuleType, studies: Path) -> None:
    with pytest.raises(click.UsageError, match="--leave-out c: no such study; there are a, b, own"):
        make_encoder.find_studies([studies], ["c"])
    with pytest.raises(click.UsageError, match="no study is left"):
        make_encoder.find_studies([studies], ["a", "b", "own"])
    shutil.rmtree(studies / "r")
    with pytest.raises(click.UsageError, match=r"a has no tree.nwk, and .* has 0 to share"):
        make_encoder.find_studies([studies], [])


def test_a_stage_is_run_once_per_inputs(stages: ModuleType, tmp_path: Path) -> None:
    folder, calls = tmp_path / "work" / "made", []

    def make(text: str, stops: bool = False) -> str:
        def run() -> None:
            calls.append((text, sorted(path.name for path in folder.glob("*"))))
            folder.mkdir(exist_ok=True)
            (folder / "part").write_text(text)
            if stops:
                raise KeyboardInterrupt
            (folder / "result").write_text(text)

        return str(stages.Stage("made", folder, folder / "result", {"text": text}, run).complete())

    with pytest.raises(KeyboardInterrupt):
        make("one", stops=True)
    first = make("one")
    assert make("one") == first  # not run again
    assert make("two") != first
    (folder / "result").write_text("spoilt")
    make("two")
    # Goes on in the folder of the stopped call; other inputs begin in no folder; a result that changed is made again.
    assert calls == [("one", []), ("one", ["part"]), ("two", []), ("two", ["part", "result"])]


def test_a_stage_without_its_result_is_an_error(stages: ModuleType, tmp_path: Path) -> None:
    stage = stages.Stage("made", tmp_path / "made", tmp_path / "made" / "result", {}, lambda: None)
    with pytest.raises(click.ClickException, match="result was not written"):
        stage.complete()


def test_a_wrong_archive_is_refused(make_encoder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "archive.tar.gz").write_bytes(b"something else")
    with pytest.raises(click.ClickException, match="not the archive of qiime-default-reference==0.1.3"):
        make_encoder.unpack_archive(tmp_path / "archive.tar.gz", tmp_path)


def test_the_corpus_of_two_studies_is_made_once(
    make_encoder: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "studies" / "infants").mkdir(parents=True)
    for file in ("table.biom", "tree.nwk"):
        shutil.copy(INFANTS / file, tmp_path / "studies" / "infants" / file)
    options = [
        "--studies",
        str(tmp_path / "studies"),
        "--work",
        str(tmp_path / "work"),
        "--from",
        "corpus",
        "--until",
        "corpus",
    ]
    for said in ("190 samples, 310 ASVs, 1 studies", "corpus: there already"):
        make_encoder.main(options, standalone_mode=False)
        assert said in capfd.readouterr().out
    note = json.loads((tmp_path / "work" / "corpus.stage.json").read_text())
    assert set(note["inputs"]) == {"options", "infants"}


def test_every_known_study_has_a_citation_and_a_licence(scripts: None) -> None:
    import encoder_recipe

    known = encoder_recipe.known_studies()
    assert len(known) == 22
    assert all(study.citation and study.repository and study.licence for study in known.values())


def test_other_methods_stand_in_parentheses(scripts: None) -> None:
    import encoder_card

    rows = [
        {"data": "x", "method": "Bray-Curtis", "seen": "", "samples": 9, "R2": 0.5},
        {"data": "x", "method": "run", "seen": "new", "samples": 9, "R2": 0.75, "seconds": 3},
        {"data": "x", "method": "run, ridge", "seen": "new", "samples": 9, "R2": 0.25},
    ]
    assert encoder_card.values_text(rows, "R2", {"run"}) == ("0.750, 0.250 (ridge)", "Bray-Curtis 0.500")
    assert encoder_card.values_text(rows, "seconds", {"run"}) == ("3", "")
    assert encoder_card.values_text(rows, "R2", {"other"}) == ("", "Bray-Curtis 0.500; run 0.750; run, ridge 0.250")
