"""Terms are explained where they first stand; ASVs have names that can be told apart."""

from __future__ import annotations

import random
from hashlib import md5

from aam.evaluation.metrics import METRIC_LABELS
from aam.report.naming import WIDTH, asv_label
from aam.report.terms import TERMS, SectionTerms


def test_a_term_is_marked_once_as_a_word_of_its_own_and_escaped() -> None:
    terms = SectionTerms()
    assert terms.mark("<b> folds") == f'&lt;b&gt; <abbr title="{TERMS["fold"]}">fold</abbr>s'
    assert terms.mark("a fold, unfolded, manifold, fold-2") == "a fold, unfolded, manifold, fold-2"
    assert terms.mark("Balanced accuracy") == f'<abbr title="{TERMS["balanced accuracy"]}">Balanced accuracy</abbr>'
    assert list(terms.seen) == ["fold", "balanced accuracy"]


def test_all_metrics_of_a_table_are_explained() -> None:
    unexplained = [label for label in METRIC_LABELS.values() if "before calibration" not in label and not marked(label)]
    assert unexplained == ["mean width of the intervals"]


def marked(text: str) -> bool:
    return "<abbr" in SectionTerms().mark(text)


def test_asvs_of_one_primer_have_different_names() -> None:
    draw = random.Random(0)
    ids = [f"TACGTAGGTGGCAAGCGTTGTCCGG{''.join(draw.choices('ACGT', k=75))}" for _ in range(2000)]
    lineage = "k__Bacteria; p__Firmicutes; f__Lachnospiraceae; g__Blautia; s__"
    assert len({asv_label(name) for name in ids}) == len(ids)
    assert len({asv_label(name, lineage) for name in ids}) == len(ids)
    assert max(len(asv_label(name, "g__" + "x" * 90)) for name in ids) <= WIDTH


def test_a_name_has_the_lowest_taxon_and_the_begin_of_the_id_of_qiime_2() -> None:
    sequence = "TACGTAGGTGGCAAGCGTTGTCCGG" * 4
    hashed = md5(sequence.encode(), usedforsecurity=False).hexdigest()
    assert asv_label(sequence) == asv_label(hashed) == f"ASV {hashed[:7]}"
    assert asv_label(sequence, "k__Bacteria; g__Blautia; s__") == f"g__Blautia {hashed[:7]}"
    assert asv_label("ASV_17") == "ASV_17" and asv_label("clade-174697", "f__A") == "f__A clade-174697"
