"""What a transfer card says of tables near and far, by hand."""

from __future__ import annotations

from dataclasses import replace

from aam.learners.transfer import Profile, ReadFigures, TrainingStudies, TrainingStudy
from aam.workflows.transfer_card import TransferCard, span

V4, V3 = ReadFigures(30, 9000.0, 611, 760, 0.012, 0.9, 0.0), ReadFigures(30, 9000.0, 427, 594, 0.012, 0.9, 0.0)
AUC = {"auc": {"value": 0.8, "low": 0.7, "high": 0.9}}
NORTH = TrainingStudy("north", 10, {"ill": 15, "well": 15}, {}, V4, 0.6, Profile((0.5,), 0.0), "south", 0.1, AUC)
SOUTH = replace(NORTH, study="south", nearest="north", known=0.7, scores={})
TRAINING = TrainingStudies([NORTH, SOUTH], 0.3, 0.5, {"auc": {"value": 0.75, "low": 0.6, "high": 0.9}})


def test_a_table_within_training_may_expect_what_studies_left_out_had():
    card = TransferCard(V4, 0.65, {"north": 0.08, "south": 0.2}, TRAINING)
    assert card.lines() == [
        "region: v4 (columns 611 to 760); training: v4 (columns 611 to 760)",
        "depth: median 9,000 reads; training: 9,000",
        "reads differ from the nearest reference sequence in 1.2% of their columns (training: 1.2%), 90% in 3% at most "
        "(90%)",
        "reads of ASVs of training: 65% (studies of training of each other: 60% to 70%)",
        "nearest study: north, at distance 0.080; studies of training have theirs at 0.100",
        "expect: about what studies left out had: auc 0.750 (0.600 to 0.900); north: auc 0.800 (0.700 to 0.900)",
    ]
    assert card.warnings() == []


def test_a_table_farther_than_any_study_is_warned_of():
    card = TransferCard(V4, None, {"north": 0.3, "south": 0.2}, TRAINING)
    (warning,) = card.warnings()
    assert card.nearest is SOUTH and "distance 0.200" in warning and "0.100 at most" in warning
    assert card.lines()[-1] == "expect: less than what studies left out had: auc 0.750 (0.600 to 0.900)"
    assert len(card.lines()) == 5  # nothing is said of ASVs that were not recorded


def test_a_single_study_sets_no_standard_of_distance():
    alone = TrainingStudies([replace(NORTH, nearest="", distance=0.0, known=None)])
    card = TransferCard(V4, 0.1, {"north": 0.9}, alone)
    assert card.warnings() == []
    assert card.lines()[-1] == "expect: unknown; no study was left out in training (--leave-one-study-out)"


def test_another_region_is_warned_of():
    assert TransferCard(V3, 0.0, {"north": 0.05}, TRAINING).elsewhere
    (warning,) = TransferCard(V3, 0.0, {"north": 0.05}, TRAINING).warnings()
    assert "another region" in warning
    both = TrainingStudies([NORTH, replace(SOUTH, reads=V3)])
    assert not TransferCard(V3, 0.0, {"north": 0.05}, both).elsewhere  # one study of training has it


def test_studies_that_show_more_than_labels_are_warned_of():
    card = TransferCard(V4, 0.6, {"north": 0.05}, replace(TRAINING, study_signal=0.9))
    (warning,) = card.warnings()
    assert "told better than its label (signal 0.90 against 0.50" in warning


def test_a_span_of_alike_values_is_one():
    assert span([3.0, 1.0, 2.0], "{:.0f}") == "1 to 3" and span([0.1, 0.1], "{:.1f}") == "0.1"
