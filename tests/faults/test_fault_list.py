"""Every entry of the fault list is tried here, or by a test that is named, or does not apply, and it is said why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import test_biom_faults
import test_checkpoint_faults
import test_config_faults
import test_matrix_faults
import test_metadata_faults
import test_tree_faults

TESTS = Path(__file__).parents[1]
ENTRIES = range(1, 115)
CLASSES = [
    test_biom_faults, test_checkpoint_faults, test_config_faults, test_matrix_faults, test_metadata_faults,
    test_tree_faults,
]  # fmt: skip
ELSEWHERE = {
    39: "phylogeny/test_tree.py::test_a_tree_as_deep_as_python_cannot_recurse_travels_to_another_process",
    63: "io/test_formulas.py::test_a_text_is_escaped_as_id_and_as_cell_if_it_would_run",
    71: "corpus/test_corpus.py::test_a_matrix_is_aligned_by_id_whatever_its_order",
    80: "training/test_checkpoint.py::test_weights_that_are_not_finite_are_refused",
    82: "training/test_checkpoint.py::test_a_save_that_is_killed_loses_no_save_before_it",
    83: "cli/test_command_group.py::test_what_an_error_tells",
    84: "cli/test_command_group.py::test_what_an_error_tells",
    85: "cli/test_pretrain_refusals.py::test_an_output_directory_belongs_to_one_process",
    87: "cli/test_damaged_runs.py::test_a_damaged_run_goes_on_from_what_is_whole_and_says_so",
    88: "cli/test_stop_signals.py::test_any_signal_in_any_state",
    101: "debug/test_debug_all_padding.py::test_a_row_of_only_padding_is_caught_before_attention",
    102: "models/test_sample_encoder.py::test_junk_in_padding_changes_exactly_nothing",
    103: "training/test_fault_policies.py::test_skipping_cannot_help_against_a_bad_weight",
    104: "training/test_fault_policies.py::test_sanitised_gradients_are_counted",
    105: "health/test_preflight.py::test_silent_fault_is_found_by_the_check_for_it",
    106: "health/test_preflight.py::test_silent_fault_is_found_by_the_check_for_it",
    107: "health/test_preflight.py::test_silent_fault_is_found_by_the_check_for_it",
    108: "training/test_preflight_of_runs.py::test_a_block_that_nothing_reaches_is_found",
    109: "health/test_locator_alarms.py::test_every_target_ignored",
    110: "health/test_precision.py::test_gemma_whose_stream_leaves_the_range_of_fp16",
    111: "training/test_faults.py::test_spikes_and_update_ratios_are_in_the_log",
    112: "training/test_faults.py::test_a_fault_that_does_not_happen_again_is_transient",
    113: "corpus/test_workers.py::test_a_killed_process_ends_the_stream_in_words_at_once",
    114: "training/test_memory.py::test_a_step_that_lacks_memory_is_made_in_halves_and_counted",
}
"""Entries that other tests try already, most of them in runs of their own."""
NO_CASE = {
    37: "A table is read once, from one open file; folders that several processes write are locked.",
    86: "No decision is made by the clock of the day: durations are of a monotonic clock, order is that of steps.",
    100: "fp16 always comes with its scaler; there is no option to leave it out.",
}
"""Entries that do not apply, and why."""


def tried() -> set[int]:
    """The numbers of the cases in this folder; "5 to 9" is five, "23 24 27" three."""
    found = set()
    for module in CLASSES:
        for name in module.entry.cases:
            label = name.rsplit("-", 1)[0]
            span = re.fullmatch(r"(\d+) to (\d+)", label)
            found |= set(range(int(span[1]), int(span[2]) + 1)) if span else {int(part) for part in label.split()}
    return found


def test_no_entry_is_left_out() -> None:
    assert sorted(tried() | set(ELSEWHERE) | set(NO_CASE)) == list(ENTRIES)
    assert not tried() & set(NO_CASE) and not set(ELSEWHERE) & set(NO_CASE)


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_what_is_tried_elsewhere_is_there(test: str) -> None:
    file, name = test.split("::")
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE), test
