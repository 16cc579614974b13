"""UniFrac and Faith PD of a batch: by hand, by definition, by scikit-bio, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skbio import TreeNode
from skbio.diversity import alpha_diversity, beta_diversity
from unifrac_definitions import Node, Sample, faith_pd, samples_on, tip_names, trees, unifrac

from aam.phylogeny import unifrac as kernel
from aam.phylogeny.tree import Tree, parse_tree
from aam.phylogeny.unifrac import BranchShares, Measure

MEASURES = [
    Measure("unweighted", 0.5),
    Measure("weighted", 0.5),
    Measure("weighted_normalized", 0.5),
    *(Measure("generalized", alpha) for alpha in (0.0, 0.25, 0.5, 1.0)),
]


def parse(text: str) -> Tree:
    return parse_tree(text.encode(), "t.nwk")


def branches_of(tree: Tree, samples: list[Sample]) -> BranchShares:
    leaves = [tree.leaves_of(list(sample)) for sample in samples]
    counts = [np.array(list(sample.values()), dtype=np.int64) for sample in samples]
    return kernel.branch_shares(tree, leaves, counts)


def distances_of(tree: Tree, samples: list[Sample], measure: Measure) -> np.ndarray:
    return kernel.unifrac_distances(branches_of(tree, samples), measure)


#            stem 0.5 -- x (1) -- a 1, b 2
#                     \\- y (3) -- c 4, d 5
HAND = "((a:1,b:2)x:1,(c:4,d:5)y:3):0.5;"
ONE, OTHER = {"a": 3, "b": 1}, {"b": 1, "c": 1}
# Below:        a     b     x    c    d   y    stem
# of ONE     3/4   1/4     1    0    0   0    1
# of OTHER     0   1/2   1/2  1/2    0   1/2  1


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        # one alone: a 1, other alone: c 4 + y 3; in both: b 2 + x 1 + stem 0.5
        (Measure("unweighted", 0.5), (1 + 4 + 3) / (1 + 4 + 3 + 2 + 1 + 0.5)),
        # a 1*3/4, b 2*1/4, x 1*1/2, c 4*1/2, y 3*1/2
        (Measure("weighted", 0.5), 0.75 + 0.5 + 0.5 + 2 + 1.5),
        # over a 1*3/4, b 2*3/4, x 1*3/2, c 4*1/2, y 3*1/2, stem 0.5*2
        (Measure("weighted_normalized", 0.5), 5.25 / (0.75 + 1.5 + 1.5 + 2 + 1.5 + 1)),
        (Measure("generalized", 1.0), 5.25 / 8.25),
        # |p - q| / (p + q): a 1, b (1/4)/(3/4), x (1/2)/(3/2), c 1, y 1, stem 0; lengths 1, 2, 1, 4, 3, 0.5
        (Measure("generalized", 0.0), (1 + 2 / 3 + 1 / 3 + 4 + 3) / 11.5),
    ],
    ids=lambda value: f"{value.metric}-{value.alpha}" if isinstance(value, Measure) else "",
)
def test_by_hand(measure: Measure, expected: float):
    found = distances_of(parse(HAND), [ONE, OTHER], measure)
    assert found == pytest.approx(np.array([[0, expected], [expected, 0]]), abs=1e-15)


def test_faith_pd_by_hand():
    # ONE: a 1 + b 2 + x 1 + stem 0.5; OTHER: b 2 + x 1 + c 4 + y 3 + stem 0.5; none without reads
    found = kernel.faith_pd(branches_of(parse(HAND), [ONE, OTHER, {}]))
    assert found == pytest.approx([4.5, 10.5, 0.0])


def test_a_batch_has_at_most_two_branches_a_leaf_less_one():
    # Only b and c occur: d merges into nothing, x into b (2 + 1), y into c (4 + 3), and the stem is above both.
    branches = branches_of(parse(HAND), [{"b": 1}, {"c": 1}])
    assert sorted(branches.length.tolist()) == [0.5, 3.0, 7.0]


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: f"{measure.metric}-{measure.alpha}")
def test_empty_and_equal_samples(measure: Measure):
    found = distances_of(parse(HAND), [ONE, {}, dict(ONE), {}, {"b": 2, "a": 6}], measure)
    assert found[0, 2] == found[0, 4] == 0.0  # equal; equal fractions of another number of reads in another order
    assert found[1, 3] == 0.0  # both without reads
    if measure.metric == "weighted":
        assert found[0, 1] == pytest.approx(0.75 * 1 + 0.25 * 2 + 1 + 0.5)  # all of ONE's own sum
    else:
        assert found[0, 1] == 1.0  # nothing shared


def test_tips_at_distance_zero_from_the_top_are_no_distance_apart():
    # Both leaves carry length 0 alone, and the only length there is lies elsewhere.
    for measure in MEASURES:
        assert distances_of(parse("((a:0,b:0):0,c:1);"), [{"a": 1}, {"b": 1}], measure)[0, 1] == 0.0


def test_counts_must_be_integers():
    with pytest.raises(ValueError, match="counts are float64, expected integers"):
        kernel.branch_shares(parse(HAND), [np.array([0])], [np.array([0.5])])


@settings(deadline=None, max_examples=60)
@given(trees(), st.data())
def test_by_definition_on_any_tree(drawn: Node, data: st.DataObject):
    samples = data.draw(samples_on(tip_names(drawn)))
    branches = branches_of(parse(drawn.newick() + ";"), samples)
    assert kernel.faith_pd(branches) == pytest.approx([faith_pd(drawn, sample) for sample in samples], abs=1e-9)
    for measure in MEASURES:
        found = kernel.unifrac_distances(branches, measure)
        expected = [[unifrac(drawn, one, other, *measure) for other in samples] for one in samples]
        assert found == pytest.approx(np.array(expected), abs=1e-9)
        assert np.array_equal(found, found.T)
        assert not np.diagonal(found).any()
        assert (found >= 0).all()


@settings(deadline=None, max_examples=25)
@given(trees(), st.data())
def test_by_scikit_bio_on_any_tree(drawn: Node, data: st.DataObject):
    names = tip_names(drawn)
    samples = data.draw(samples_on(names))
    counts = np.array([[sample.get(name, 0) for name in names] for sample in samples])
    tree = TreeNode.read([drawn.newick() + ";"], convert_underscores=False)
    branches = branches_of(parse(drawn.newick() + ";"), samples)
    options = {"taxa": names, "tree": tree, "validate": False}
    for metric, name, extra in (
        ("unweighted", "unweighted_unifrac", {}),
        ("weighted", "weighted_unifrac", {"normalized": False}),
    ):
        expected = beta_diversity(name, counts, **options, **extra).data
        assert kernel.unifrac_distances(branches, Measure(metric, 0.5)) == pytest.approx(expected, abs=1e-9)
    assert kernel.faith_pd(branches) == pytest.approx(
        alpha_diversity("faith_pd", counts, **options).to_numpy(), abs=1e-9
    )


@settings(deadline=None, max_examples=40)
@given(trees(), st.data())
def test_what_must_not_matter(drawn: Node, data: st.DataObject):
    names = tip_names(drawn)
    samples = data.draw(samples_on(names))
    whole = parse(drawn.newick() + ";")
    other_order = [dict(data.draw(st.permutations(list(sample.items())))) for sample in samples]
    occurring = sorted({name for sample in samples for name in sample})
    variants = {
        "order of the ASVs": branches_of(whole, other_order),
        "names with count 0": branches_of(whole, [dict.fromkeys(names, 0) | sample for sample in samples]),
        "ten times the reads": branches_of(whole, [{n: 10 * reads for n, reads in s.items()} for s in samples]),
    }
    if occurring:
        variants["further tips"] = branches_of(whole.shear(occurring), samples)
    plain = branches_of(whole, samples)
    for what, branches in variants.items():
        assert kernel.faith_pd(branches) == pytest.approx(kernel.faith_pd(plain), abs=1e-12), what
        for measure in MEASURES:
            expected = kernel.unifrac_distances(plain, measure)
            assert kernel.unifrac_distances(branches, measure) == pytest.approx(expected, abs=1e-12), (what, measure)


def test_a_leaf_named_twice_counts_with_both_numbers():
    tree = parse(HAND)
    twice = kernel.branch_shares(tree, [np.array([0, 1, 0])], [np.array([2, 1, 1])])
    once = kernel.branch_shares(tree, [np.array([0, 1])], [np.array([3, 1])])
    assert np.array_equal(twice.share, once.share)


def test_a_resolved_polytomy_is_the_same_tree():
    samples = [{"a": 1, "b": 2}, {"b": 1, "c": 5}, {"a": 1, "c": 1, "d": 1}]
    flat, resolved = parse("((a:1,b:2,c:3):1,d:1);"), parse("(((a:1,b:2):0,c:3):1,d:1);")
    for measure in MEASURES:
        assert distances_of(flat, samples, measure) == pytest.approx(
            distances_of(resolved, samples, measure), abs=1e-15
        )
