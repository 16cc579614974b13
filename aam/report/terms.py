"""What the terms of a report mean: explained where they first stand in a section, and listed below it."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

TERMS = {
    "95 % interval": "if the study were repeated with other samples, 95 of 100 intervals would hold the true value",
    "accuracy": "the part of the samples (or bases) whose class is predicted rightly",
    "area under the ROC curve": "how often, of two samples of different classes, the right one gets the higher "
    "probability: 0.5 by chance, 1 always",
    "ASV": "amplicon sequence variant: one distinct DNA sequence of the marker gene",
    "attribution": "how far it moves the explained output, up (+) or down (-), in a sample that has it",
    "auc": "area under the ROC curve: how often, of two samples of different classes, the right one gets the higher "
    "probability: 0.5 by chance, 1 always",
    "balanced accuracy": "the accuracy of each class, averaged over the classes, so that rare classes count as much as "
    "frequent ones; by chance 1 divided by the number of classes",
    "baseline": "a simple method that is scored in the same way, to compare with",
    "calibration": "whether what is given a probability of 80 % is right in 80 of 100 samples",
    "centred log-ratios": "logarithms of abundances, less their mean in the sample",
    "clade": "all descendants of one node of the reference tree",
    "conformal interval": "a prediction interval whose width comes from the errors on samples that were held out",
    "coverage": "the part of the samples whose true value lies in the prediction interval",
    "cross-entropy": "the mean logarithm of one over the probability of what was true; smaller is better",
    "embedding": "the numbers by which the model describes an ASV or a sample",
    "expected calibration error": "how far probabilities are from the part that is right, on average; 0 is "
    "best. Calibration lowers the negative log-likelihood, and with few samples this error may rise",
    "fold": "one part of a cross-validation: predicted by a model that was trained on the other parts",
    "held out": "not used for training, so that it tests the model",
    "held-out": "not used for training, so that it tests the model",
    "influence": "how far it moves the explained output in a sample that has it, without sign",
    "intervention": "a step that was skipped or mended, because a loss or gradient was not a finite number",
    "Jaccard": "the part of the ASVs of two samples that only one of them has; it knows no phylogeny",
    "macro F1": "the harmonic mean of precision and recall of each class, averaged over the classes; 1 is best",
    "mean absolute error": "how far predictions are from the truth on average, in the unit of the target",
    "MAE": "mean absolute error: how far predictions are from the truth on average",
    "median absolute error": "half of the predictions are closer to the truth than this, in the unit of the target",
    "nats": "the unit of information with the natural logarithm; 1 nat is 1.44 bits",
    "negative log-likelihood": "the mean logarithm of one over the probability of the true class; smaller is better",
    "nominal coverage": "the coverage that the intervals are made for",
    "ordination": "a picture in which similar samples lie near each other",
    "Pearson r": "linear correlation: 1 if predictions are a rising line of the truth, 0 without relation",
    "principal coordinates": "the axes on which samples differ most",
    "quarantine": "leaving a sample or ASV out of a run, with the reason in the ledger",
    "R²": "the part of the variation that is predicted: 1 exact, 0 as good as the mean, below 0 worse than it",
    "rank correlation": "Spearman: 1 if the order of the samples is right, 0 if it is by chance",
    "rarefaction": "drawing the same number of reads from every sample",
    "residual": "predicted less true value",
    "ridge": "a linear model with small weights",
    "root mean square error": "like the mean absolute error, but large errors count more",
    "SHA-256": "a checksum: equal for equal files only",
    "share": "its part of the influence of all",
    "shuffled": "the values of the column given to other samples at random: what chance alone reaches",
    "signal": "balanced accuracy above chance, as a part of what is possible: 0 by chance, 1 always right",
    "spike": "a loss far above those before it",
    "step": "one update of the weights",
    "tips": "sequences of the reference at the ends of its tree",
    "UniFrac": "a distance of two samples: the part of the tree of their ASVs that they do not share",
    "UPGMA": "a tree made from distances by joining the nearest groups, one after another",
}
"""Term -> its meaning, in one line. The pages of the documentation have a glossary with more."""
KNOWN = {term.lower(): term for term in TERMS}
PATTERN = re.compile(
    r"(?<![\w-])(" + "|".join(map(re.escape, sorted(TERMS, key=len, reverse=True))) + r")(?=s?(?![\w-]))", re.IGNORECASE
)
"""A term as a word of its own, also in the plural; of two that begin alike the longer one."""


class SectionTerms:
    """Marks each term where it first stands in a section, and remembers those that it has marked."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def mark(self, text: str) -> Markup:
        """The text as HTML, escaped, its new terms with their meaning as a title."""
        parts = PATTERN.split(text)  # text, term, text, term, …
        return Markup("").join(self._term(part) if place % 2 else escape(part) for place, part in enumerate(parts))

    def _term(self, text: str) -> Markup:
        term = KNOWN[text.lower()]
        if term in self.seen:
            return escape(text)
        self.seen[term] = TERMS[term]
        return Markup('<abbr title="{}">{}</abbr>').format(TERMS[term], text)
