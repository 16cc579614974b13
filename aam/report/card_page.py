"""A model card as a page: Markdown with the YAML head that a hub of models reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import yaml

from aam.report.page import Part
from aam.report.parts import nucleotide_part, reference_part, target_part, unifrac_part
from aam.text import counted

TAGS = ["aam", "microbiome", "16S", "dna"]
HUB_LICENCES = (
    "apache-2.0",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "mit",
)
"""Licences in the words of huggingface.co; others are called "other" there."""
NOT_STATED = "Not stated. Ask whoever made this model before you pass it on."
WHAT = {
    "pretrain": "An encoder of 16S amplicon data, pretrained without labels by `aam pretrain`: it turns ASVs and "
    "samples into embeddings, and estimates UniFrac without a tree.",
    "finetune": "A model of `aam train` that predicts {targets} from a 16S feature table.",
}
GENE = ", each at its column of the 16S gene"
USE = {
    "pretrain": ["aam embed --model {model} --table table.biom -o embeddings.tsv"],
    "finetune": ["aam predict --model {model} --table table.biom -o predictions.tsv"],
}
CLADES = "a ridge and forests on the abundances of ASVs and of the clades of a reference; no network."
METRIC_WORDS = {"r2": "r_squared", "mae": "mae", "pearson": "pearsonr", "accuracy": "accuracy"}
"""Endings of metrics, in the words of huggingface.co."""


def card_page(card: Mapping[str, Any], model: str) -> str:
    """The page of a card (`aam.report.model_card`); `model` is what users give as --model."""
    head = yaml.safe_dump(card_head(card), sort_keys=False, allow_unicode=True)
    made = f"Made by aam {card['aam']}; `card.json` has the same as data."
    blocks = [f"---\n{head}---", f"# {card['name']}", *about(card, model), *sections(card), made]
    return "\n\n".join(blocks) + "\n"


def card_head(card: Mapping[str, Any]) -> dict[str, Any]:
    """What huggingface.co reads of a card; a licence that it has no word for is called "other" there."""
    licence = "-".join(card["licence"].lower().split())
    known = licence in HUB_LICENCES
    named = {"license": licence} if known else {"license": "other", "license_name": licence}
    return {
        "library_name": "aam",
        **(named if licence else {}),
        "tags": TAGS,
        **({} if card["predicts"] else {"pipeline_tag": "feature-extraction"}),
        **{name: found for name, found in (("datasets", datasets(card)), ("metrics", metric_words(card))) if found},
    }


def datasets(card: Mapping[str, Any]) -> list[str]:
    """Names of the data, as short words."""
    return ["-".join(source["name"].lower().split()) for source in card["data"]]


def metric_words(card: Mapping[str, Any]) -> list[str]:
    """Kinds of metrics of held-out samples that the card has."""
    return [word for end, word in METRIC_WORDS.items() if any(name.split("_")[-1] == end for name in card["metrics"])]


def about(card: Mapping[str, Any], model: str) -> Iterator[str]:
    """What the model is, its size, what reads it has seen, and how it is used."""
    yield WHAT[card["kind"]].format(targets=" and ".join(card["predicts"]))
    shape = card["model"]
    yield (
        f"{card['parameters']:,} numbers; {CLADES}"
        if card.get("on_clades")
        else (
            f"{card['parameters']:,} parameters; embeddings of {shape['dim']} numbers; "
            f"{counted(shape['asv_layers'], 'layers')} for ASVs, {shape['sample_layers']} for samples; reads up to "
            f"{shape['max_bp']:,} bases of an ASV{GENE if shape['positions'] == 'gene' else ''}."
            + (f" {card['models']} models, one of each fold." if card["models"] > 1 else "")
        )
    )
    commands = "\n".join(line.format(model=model) for line in USE[card["kind"]])
    yield f"```bash\n{commands}\n```"


def sections(card: Mapping[str, Any]) -> Iterator[str]:
    """The sections of the page, without those of which nothing is known."""
    for title, lines in (("Good at", card["strengths"]), ("Limits", card["limits"])):
        if lines:
            yield f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines)
    yield "## Data\n\n" + "\n\n".join(data_blocks(card))
    yield "## Training\n\n" + "\n\n".join(training_blocks(card))
    if blocks := list(figure_blocks(card)):
        yield "## Figures\n\n" + "\n\n".join(blocks)
    if text := card["reference"].get("attribution"):
        lower = re.sub(r"(?m)^(?=#)", "##", text.strip())  # its headings below that of the section
        yield f"## Reference of training: {card['reference']['name']}\n\n{lower}"
    licence = card["licence"] and f"The weights are under {card['licence']}."
    yield "## Licence of the weights\n\n" + (" ".join(filter(None, (licence, card["attribution"]))) or NOT_STATED)


def data_blocks(card: Mapping[str, Any]) -> Iterator[str]:
    """Sources with licences, samples and ASVs, where the reads lie on the gene, and the files."""
    if card["data"]:
        rows = [[s["name"], s["counts"], s["licence"], s["source"]] for s in card["data"]]
        yield markdown_table(["data", "content", "licence", "source"], rows)
    metrics = card["metrics"]
    tested = {name: metrics[f"samples_{name}"] for name in ("train", "tested") if f"samples_{name}" in metrics}
    samples = card.get("samples") or tested
    counts = [f"{count:,} samples ({name})" for name, count in samples.items() if isinstance(count, int)]
    counts += [f"{card['asvs']:,} ASVs"] if "asvs" in card else []
    if card.get("rarefy_depth") and not card.get("on_clades"):
        counts.append(f"{card['rarefy_depth']:,} reads drawn of each sample")
    if counts:
        yield ", ".join(counts) + "."
    if card["region"]:
        yield f"Region: {card['region']}."
    yield from dict.fromkeys(
        f"Reads of {reads['bases']} bases from {reads['begin']} on: {reads['region']}." for reads in card["reads"]
    )
    if card["files"]:
        rows = [[name, at["file"], at["sha256"]] for name, at in card["files"].items()]
        yield markdown_table(["input", "file", "SHA-256"], rows)
    if not (card["data"] or counts or card["reads"] or card["files"]):
        yield "Not recorded."


def training_blocks(card: Mapping[str, Any]) -> Iterator[str]:
    """Command, steps, time, seed and versions."""
    training = card["training"]
    yield f"```bash\n{training['command']}\n```"
    facts = [counted(training["steps"], "steps")] if "steps" in training else []
    facts += [f"{training['seconds'] / 60:.1f} minutes"] if "seconds" in training else []
    facts += [f"seed {training['seed']}"]
    facts += [f"begun {training['started']}"] if "started" in training else []
    yield ", ".join(facts) + "."
    if versions := training["versions"]:
        yield "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def figure_blocks(card: Mapping[str, Any]) -> Iterator[str]:
    """Stated figures below the command that gave them, then the metrics of held-out samples that the run has."""
    for (title, command), group in groupby(
        card["figures"], lambda figure: (figure.get("title", ""), figure["command"])
    ):
        head, figures = f"By `{command}`:" if not title else f"**{title}** (by `{command}`)", list(group)
        names = ["what", "value", *(["others"] if any(figure.get("others") for figure in figures) else [])]
        rows = [[figure.get(name, "") for name in names] for figure in figures]
        yield f"{head}\n\n{markdown_table(names, rows)}"
    metrics = card["metrics"]
    parts = [target_part(metrics, card["predicts"])] if card["predicts"] else pretraining_figures(metrics)
    for part in parts:
        for table in part.tables:
            if table.rows:
                yield f"**{part.title}** (metrics of the training run)\n\n{markdown_table(table.head, table.rows)}"


def pretraining_figures(metrics: Mapping[str, Any]) -> list[Part]:
    """Metrics of held-out samples of a pretraining beside the baselines."""
    return [unifrac_part(metrics), nucleotide_part(metrics), reference_part(metrics)]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; the first column left-aligned."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
