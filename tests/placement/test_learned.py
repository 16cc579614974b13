"""Placement that is learned: windows and lineages by hand, one ASV after the other, learning, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generated_reference import dna, random_reference, read_of, save_reference
from hypothesis import given, settings
from hypothesis import strategies as st

from aam.errors import ReferenceFolderError
from aam.gene.profile import NO_BASE
from aam.models.placer import Placer
from aam.observer import no_progress
from aam.phylogeny.tree import parse_tree
from aam.placement.calibrate import Clusters, draw_clusters, explained, fit, simulate, try_out
from aam.placement.hold_out import HeldOut, hold_out
from aam.placement.insertion import insertion_tree
from aam.placement.learn import LearnConfig, Learning, make_lessons, step_loss
from aam.placement.learned import LearnedPlacer, Shrink, place_by_network
from aam.placement.lessons import Lesson, draw, make_lesson
from aam.placement.lineages import Lineages
from aam.placement.neighbours import Neighbourhood
from aam.placement.placements import PLACED
from aam.placement.placer_file import ABOUT, WEIGHTS, read_placer, round_as_stored, write_placer
from aam.placement.reference import Reference, is_named
from aam.placement.sequence import Hung, earlier_neighbours
from aam.placement.window import Window

CODES = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 3], [3, 3, 3]], np.uint8)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return random_reference(60)


@pytest.fixture(scope="module")
def placer() -> LearnedPlacer:
    torch.manual_seed(0)
    return LearnedPlacer(Placer(1739, 16, 2, 1).eval(), 8)


def four_tips() -> Reference:
    """((a:1,b:2):3,(c:4,d:5):6); with a equal to b on the three columns."""
    return Reference(parse_tree(b"((a:1,b:2):3,(c:4,d:5):6);", "by hand"), np.ascontiguousarray(CODES.T), 1)


def test_equal_tips_are_one_group_with_the_height_of_their_ancestor():
    """a and b are equal; the first is in the middle of two, and their ancestor is 1 above it."""
    window = Window(four_tips(), 1, 3)
    assert len(window.codes) == 3 and window.group_of[0] == window.group_of[1]
    group = window.describe(window.group_of[[0, 2]])
    assert group.tip.tolist() == [0, 2] and group.size.tolist() == [2, 1] and group.spread.tolist() == [1, 0]


def test_a_tip_that_is_left_out_of_its_group_leaves_the_others():
    window = Window(four_tips(), 1, 3)
    group = window.describe(window.group_of[[0, 1, 2, 3]], np.array([0, 1, 2, 2]))
    assert group.tip.tolist() == [1, 0, -1, 3] and group.size.tolist() == [1, 1, 0, 1]
    assert group.spread.tolist() == [0, 0, 0, 0]


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(2, 7))
def test_groups_without_one_of_their_tips_are_those_of_a_window_without_it(seed: int, width: int):
    """Reference: the same window built without the tip."""
    whole, rng = random_reference(20), np.random.default_rng(seed)
    codes = rng.integers(0, 2, (width, 20)).astype(np.uint8)
    reference, tip = Reference(whole.tree, codes, 1), int(rng.integers(20))
    window, kept = Window(reference, 1, width), np.arange(20) != tip
    less = Window(reference, 1, width, kept)
    group = window.describe(np.array([window.group_of[tip]]), np.array([tip]))
    same = np.flatnonzero((codes[:, kept] == codes[:, [tip]]).all(axis=0))
    assert group.size.tolist() == [len(same)]
    if len(same):
        own = less.describe(less.group_of[np.flatnonzero(kept)[same[:1]]])
        assert group.spread + reference.ancestors.tip_depth[own.tip] == pytest.approx(
            own.spread + reference.ancestors.tip_depth[group.tip]
        )


def test_common_ancestors_of_placed_asvs_by_hand():
    """R = 4 tips; ASV 4 leaves a (depth 4) at 3.5; ASV 5 leaves ASV 4 at 3.75; ASV 6 leaves b at 2, above (a, b)."""
    lineages = Lineages(four_tips().ancestors, 3)
    lineages.add(np.array([4]), np.array([0]), np.array([3.5]), np.array([0.5]))
    lineages.add(np.array([5]), np.array([4]), np.array([3.75]), np.array([0.1]))
    lineages.add(np.array([6]), np.array([1]), np.array([2.0]), np.array([1.0]))
    pairs = {(4, 0): 3.5, (4, 1): 3.0, (5, 4): 3.75, (5, 0): 3.5, (5, 1): 3.0, (6, 1): 2.0, (6, 5): 2.0, (5, 2): 0.0}
    for (left, right), depth in pairs.items():
        assert lineages.common(np.array([left]), np.array([right])).tolist() == [depth]
        assert lineages.common(np.array([right]), np.array([left])).tolist() == [depth]
    assert lineages.depth[4:].tolist() == [4.0, 3.85, 3.0]
    assert lineages.common(np.array([5]), np.array([5])).tolist() == [3.85]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_nearest_rows_are_those_of_a_plain_count(seed: int):
    rng = np.random.default_rng(seed)
    rows, asked = (rng.integers(0, 5, (count, 12)).astype(np.uint8) for count in (30, 4))
    found = Neighbourhood(rows).nearest(asked, 5, np.array([-1, 3, -1, 7]))
    for read, leave in enumerate([-1, 3, -1, 7]):
        covered = asked[read] != NO_BASE
        counts = ((rows != asked[read]) & covered).sum(axis=1)
        expected = sorted((int(count), row) for row, count in enumerate(counts) if row != leave)[:5]
        assert list(zip(found.differing[read].tolist(), found.rows[read].tolist(), strict=True)) == expected


def test_earlier_neighbours_are_only_those_placed_before():
    codes = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 0], [3, 3, 3]], np.uint8)
    rows, apart = earlier_neighbours(codes, np.array([2, 0, 1, 3]), np.arange(4), 2)
    assert rows[1].tolist() == [1, 1] and (apart[1] > 3).all()  # the first to be placed: nobody
    assert rows[2, 0] == 1 and apart[2, 0] == 1
    assert rows[0].tolist() == [2, 1] and apart[0].tolist() == [0, 1]


def test_lineages_are_numbered_down_to_the_last_name():
    tree = parse_tree(b"((a:1,b:1):1,c:1);", "by hand")
    lineages = ["k__B; p__F; g__", "k__B;p__F; g__X", "k__B; p__G; g__X"]
    found = Reference(tree, np.zeros((1, 3), np.uint8), 1, lineages).taxa
    assert found[0, 0] == found[1, 0] == found[2, 0] and found[0, 1] == found[1, 1] != found[2, 1]
    assert found[0, 2] == -1 and found[1, 2] != found[2, 2] and (found[:, 3:] == -1).all()
    assert is_named("g__X") and is_named("Bacteria") and not is_named("g__") and not is_named("")


def test_what_is_drawn_is_the_truth_of_the_tree(reference: Reference):
    window, ancestors = Window(reference, 611, 760), reference.ancestors
    lesson = make_lesson(window, np.array([3, 30]))
    reading, truth = draw(lesson, np.array([0, 1]), 6, None, reference.taxa)
    for row, tip in enumerate((3, 30)):
        near = window.describe(lesson.groups[row, :6].astype(int)).tip
        assert tip not in near
        common = ancestors.common(near, np.array(tip))
        assert truth.height[row].numpy() == pytest.approx(ancestors.tip_depth[near] - common, abs=1e-6)
        assert truth.stem[row].numpy() == pytest.approx(ancestors.tip_depth[tip] - common, abs=1e-6)
        counts = (window.codes[lesson.groups[row, :6]] != window.codes[window.group_of[tip]]).sum(axis=1)
        assert reading.numbers[row, :, 0].numpy() == pytest.approx(10 * counts / 150, abs=1e-6)


def test_the_place_of_an_asv_does_not_depend_on_what_is_read_with_it(reference: Reference, placer: LearnedPlacer):
    """ASVs of other clades, far from it, change nothing."""
    alone = place_by_network(reference, placer, ["a"], [read_of(reference, 5)], no_progress)
    both = place_by_network(reference, placer, ["b", "a"], [read_of(reference, 50), read_of(reference, 5)], no_progress)
    assert both.candidates[1].tolist() == alone.candidates[0].tolist()
    assert both.chance[1] == pytest.approx(alone.chance[0], abs=1e-6)


def test_a_table_and_a_part_of_it_have_the_same_places(reference: Reference, placer: LearnedPlacer):
    """Of 20 relatives those of a part stay where they are; placed on each other they do not."""
    rng = np.random.default_rng(0)
    reads = [list(read_of(reference, 5)) for _ in range(20)]
    for read in reads:
        for column in rng.integers(0, 150, 8).tolist():
            read[column] = "ACGT"[rng.integers(4)]
    ids, texts = [str(row) for row in range(20)], ["".join(read) for read in reads]
    moved = {}
    for alone in (True, False):
        own = placer if alone else placer.joint
        whole = place_by_network(reference, own, ids, texts, no_progress)
        part = place_by_network(reference, own, ids[::2], texts[::2], no_progress)
        assert not alone or (whole.anchor < 60).all()
        moved[alone] = abs(np.r_[part.top - whole.top[::2], part.stem - whole.stem[::2]]).max()
        assert not alone or part.anchor.tolist() == whole.anchor[::2].tolist()
    assert moved[True] < 1e-6 < 1e-4 < moved[False]


def test_placements_make_a_tree_with_all_asvs(reference: Reference, placer: LearnedPlacer):
    """Twins of one another are candidates of each other; the tree has every ASV at the depth of its place."""
    reads = [read_of(reference, tip) for tip in (5, 5, 20, 41)] + [dna(np.arange(150, dtype=np.uint8) % 4)]
    found = place_by_network(reference, placer, list("abcde"), reads, no_progress)
    assert (found.fate[:4] == PLACED).all() and found.fate[4] != PLACED
    assert found.chance[:4].sum(axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert found.confidence is not None and (found.confidence[:4].sum(axis=1) <= 1 + 1e-5).all()
    tree = insertion_tree(found, reference, with_reference=True)
    depth = tree.depths() - tree.length[-1]
    ends = depth[tree.tips()[tree.leaves_of(list("abcd"))]]
    assert ends == pytest.approx(found.top[:4] + found.stem[:4], abs=1e-9)


def test_shrunk_places_are_lower_and_their_branches_shorter(reference: Reference, placer: LearnedPlacer):
    reads = [read_of(reference, tip) for tip in (5, 20, 41)]
    whole = place_by_network(reference, placer, list("abc"), reads, no_progress)
    half = place_by_network(reference, replace(placer, shrink=Shrink(0.5, 0.25)), list("abc"), reads, no_progress)
    depth = reference.ancestors.tip_depth[whole.anchor]
    assert half.anchor.tolist() == whole.anchor.tolist()
    assert depth - half.top == pytest.approx((depth - whole.top) / 2)
    assert half.stem == pytest.approx(whole.stem / 4)


def few(reference: Reference) -> tuple[Learning, list[Lesson], np.ndarray]:
    """A small network that has not learned yet, and its lessons."""
    config = LearnConfig(steps=60, batch=16, candidates=8, lessons=200, dim=16, layers=1)
    nobody = np.zeros(0, np.int64)
    lessons, chance = make_lessons(reference, config, HeldOut(Clusters(nobody, nobody, 0), nobody, nobody), no_progress)
    return Learning(reference, config), lessons, chance


def test_learning_lowers_the_loss(reference: Reference):
    learning, lessons, chance = few(reference)
    reading, truth = draw(
        make_lesson(Window(reference, 611, 760), np.arange(60)), np.arange(60), 8, None, learning.taxa
    )

    def loss() -> float:
        with torch.no_grad():
            return step_loss(learning.net(reading), reading, truth).item()

    before = loss()
    learning.go_on(lessons, chance, 60)
    assert learning.step == 60 and loss() < 0.95 * before


def test_a_learning_that_goes_on_learns_the_same(reference: Reference):
    """20 steps, or 8 and 12 after the state was restored into a new network."""
    whole, lessons, chance = few(reference)
    whole.go_on(lessons, chance, 20)
    first, _, _ = few(reference)
    first.go_on(lessons, chance, 8)
    second, _, _ = few(reference)
    second.restore({name: part.clone() for name, part in first.tensors().items()}, 8)
    second.go_on(lessons, chance, 20)
    for one, other in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_held_out_is_disjoint_and_never_asked():
    reference = random_reference(600)
    held = hold_out(reference, np.ones(600, bool), 0)
    parts = [held.clusters.tips, held.tested, held.genera]
    assert sum(map(len, parts)) == len(np.unique(np.concatenate(parts))) > 50
    config = LearnConfig(steps=1, batch=16, candidates=8, lessons=2000, dim=16, layers=1)
    lessons, _ = make_lessons(reference, config, held, no_progress)
    asked = np.concatenate([lesson.asked for lesson in lessons])
    assert not np.isin(np.concatenate(parts), asked).any()
    assert all((lesson.window.group_of[held.genera] == -1).all() for lesson in lessons)


def test_the_fit_finds_the_scale_of_a_simulated_study():
    """Tips of the study hang at their true places with lengths twice too long: factors of a half undo it."""
    whole = random_reference(300, 1)
    ancestors, rng = whole.ancestors, np.random.default_rng(0)
    clusters = draw_clusters(np.arange(300), rng)
    study = simulate(clusters, np.ones(300, bool), rng)
    others = np.setdiff1d(np.arange(300), study.tips)
    common = ancestors.common(study.tips[:, None], others)
    anchor, depth, count = others[common.argmax(axis=1)], common.max(axis=1), len(study.tips)
    window = Window(whole, 611, 760, np.isin(np.arange(300), others))
    trial = try_out(whole, window, LearnedPlacer(Placer(1739, 16, 2, 1).eval(), 8), study)
    heights, stems = ancestors.tip_depth[anchor] - depth, ancestors.tip_depth[study.tips] - depth
    true = trial._replace(hung=Hung(anchor, 2 * heights, 2 * stems, np.arange(count)))
    assert min(explained(true, Shrink(0.5, 0.5))) > max(explained(true, Shrink(1.0, 1.0)))
    best = fit([true])
    assert best.height in (0.4, 0.5, 0.6) and best.stem in (0.4, 0.5, 0.6)


def test_what_was_learned_is_read_back(tmp_path: Path, reference: Reference, placer: LearnedPlacer):
    folder = save_reference(tmp_path / "reference", reference)
    assert read_placer(folder) is None
    write_placer(folder, replace(placer, shrink=Shrink(0.5, 0.6), figures={"tips": 3}))
    found = read_placer(folder)
    assert found is not None and found.shrink == Shrink(0.5, 0.6) and found.figures == {"tips": 3}
    round_as_stored(placer.net)
    reads = [read_of(reference, 5), read_of(reference, 20)]
    one, other = (place_by_network(reference, net, ["a", "b"], reads, no_progress) for net in (placer, found))
    assert np.array_equal(one.chance, other.chance)


def test_files_that_do_not_belong_together_are_told(tmp_path: Path, reference: Reference, placer: LearnedPlacer):
    one, other = (
        save_reference(tmp_path / name, kind) for name, kind in (("a", reference), ("b", random_reference(9)))
    )
    write_placer(one, placer)
    (other / ABOUT).write_bytes((one / ABOUT).read_bytes())
    (other / WEIGHTS).write_bytes((one / WEIGHTS).read_bytes())
    with pytest.raises(
        ReferenceFolderError,
        match=r"was learned from another reference than .*b/reference.json: its SHA-256 is .*; remove",
    ):
        read_placer(other)
    (one / WEIGHTS).write_bytes((one / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(ReferenceFolderError, match="belongs to other weights"):
        read_placer(one)
    (one / ABOUT).write_text("{}")
    with pytest.raises(ReferenceFolderError, match="lacks candidates, figures"):
        read_placer(one)
