"""What the shipped encoder is made of: its settings, the studies with their licences, and what its card says."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

PREPARE = ("--positions", "gene", "--max-bp", "auto")
"""Options of `aam prepare`, besides the studies."""
ASVS = (
    *("--positions", "gene", "--windows", "random", "--max-bp", "auto"),
    *("--preset", "small", "--dim", "64", "--asv-layers", "3", "--branches", "256", "--patch", "10"),
    *("--batch-size", "2", "--reference-tips", "384", "--validation-fraction", "0.1", "--eval-every", "250"),
    *("--reference-patristic-weight", "1", "--unifrac-weight", "0", "--euclidean-weight", "0"),
)
"""Options of `aam pretrain` by which the encoder of ASVs learns from the reference alone; see docs/log.md."""
SAMPLES = (
    *("--freeze-asvs", "--restart-samples", "--mean-features", "512"),
    *("--euclidean-weight", "1", "--masked-asv-weight", "0.1"),
    *("--rarefy-depth", "1000", "--validation-fraction", "0.05", "--eval-every", "200"),
    *("--windows", "random", "--reference-tips", "128", "--max-bp", "auto"),
)
"""Options of `aam pretrain` by which the encoder of samples learns from the corpus; see docs/log.md."""
MINUTES = {"asvs": 65.0, "samples": 10.0}
"""Time of each."""
TESTED = ("american-gut", "ecam-infants", "herfarth", "ibd-2538", "moving-pictures", "protect", "udca-gut")
"""Studies that the figures are of: left out of the encoder that is measured (herfarth and ibd-2538 are one study)."""
ARCHIVE = "qiime-default-reference==0.1.3"
ARCHIVE_SHA256 = "8dea65590d044500130c59927ebb150b3a01f3cc274bd47d389b64b45c58c992"
MEMBERS = {
    "sequences": "qiime-default-reference-0.1.3/qiime_default_reference/gg_13_8_otus/rep_set/97_otus.fasta.gz",
    "tree": "qiime-default-reference-0.1.3/qiime_default_reference/gg_13_8_otus/trees/97_otus.tree.gz",
    "taxonomy": "qiime-default-reference-0.1.3/qiime_default_reference/gg_13_8_otus/taxonomy/97_otu_taxonomy.txt.gz",
}
"""Files of the archive by option of `aam reference`."""


class Study(NamedTuple):
    """Where the table of a study comes from, and the licence of the repository it was taken from."""

    citation: str
    accession: str
    repository: str
    licence: str

    @property
    def origin(self) -> str:
        """All of it but the licence, in a line."""
        return "; ".join(text for text in (self.citation, self.accession, self.repository) if text)


REFERENCE = Study(
    "97 % OTUs; McDonald et al. 2012, ISME Journal 6:610, doi:10.1038/ismej.2011.139",
    "",
    "PyPI qiime-default-reference 0.1.3",
    "CC BY-SA 3.0",
)


def known_studies() -> dict[str, Study]:
    """The studies of `encoder_studies.tsv` by the name of their folder; of others a card gives the name alone."""
    with Path(__file__).with_name("encoder_studies.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {row["study"]: Study(*(row[field] for field in Study._fields)) for row in rows}


LICENCE = "CC BY-SA 3.0"
"""Of the weights: they learned from the reference, which asks to share alike."""
ATTRIBUTION = (
    "Learned from Greengenes 13.8 (McDonald et al. 2012, doi:10.1038/ismej.2011.139; CC BY-SA 3.0, "
    "https://creativecommons.org/licenses/by-sa/3.0/) and from the public studies listed under data, whose tables are "
    "not part of it."
)
STRENGTHS = (
    "16S reads of any primer and strand in one space: samples of human body sites, of the gut above all, keep their "
    "distances to each other when they are seen through another window of the gene",
    "order of samples as by UniFrac, without a tree, also in studies not trained on (`aam distance`, which places "
    "ASVs, is nearer to UniFrac)",
    "stool samples of different studies: embeddings tell the study less than Bray-Curtis and unweighted UniFrac do",
    "a start for models of labels: near a forest on abundances, and level with it or above when both are averaged",
)
LIMITS = (
    "Persons are told apart less well than by Jaccard or Bray-Curtis, because near relatives look alike to it.",
    "Labels learned through one primer lose much through another one: Crohn's disease has an area under the curve of "
    "0.80 within V4, and, learned there, 0.77, 0.68 and 0.62 through V3-V4, V1-V3 and V5-V7.",
    "Crohn's disease in the 24 people of ibd-2538 cannot be told, by no method: folds by person give areas under the "
    "curve far below 0.5.",
    "Most tables of training hold reference fragments of V4 in place of reads: strains do not differ in them.",
    "Soil, sea, plants and hosts other than people are nearly absent from the samples (95 samples of mice, some dogs); "
    "the reference has their lineages.",
    "Studies differ in laboratory work, and embeddings show it: compare samples within a study, or check with samples "
    "that both have.",
    "No medical use: labels of a new study are learned from that study.",
)
