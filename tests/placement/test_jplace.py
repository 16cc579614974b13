"""jplace files, read back with a small parser of their own and by scikit-bio."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from generated_reference import random_reference, read_of

from aam.cli import main
from aam.observer import no_progress
from aam.placement.jplace import write_jplace
from aam.placement.nearest_tip import place_by_nearest_tip
from aam.placement.placements import Placements
from aam.placement.reference import Reference


@pytest.fixture(scope="module")
def case() -> tuple[Placements, Reference]:
    """Three ASVs with several places, the first two candidates of each far apart in the tree."""
    reference = random_reference(20)
    found = place_by_nearest_tip(
        reference, ["a", "it's b", "c_c"], [read_of(reference, tip) for tip in (1, 8, 15)], no_progress
    )
    chance, candidates = np.zeros_like(found.chance), found.candidates.copy()
    candidates[:, :3] = [[1, 18, 10], [8, 19, 0], [15, 4, 9]]
    chance[:, :3] = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.995, 0.005, 0]]
    height = np.full_like(found.height, 0.001)
    return dataclasses.replace(
        found, candidates=candidates, chance=chance, height=height, stem_of=np.full_like(height, 0.02)
    ), reference


def edges(text: str) -> dict[int, tuple[float, set[str]]]:
    """Edge number -> length and tips below, of the tree of a jplace file; names have no parentheses here."""
    found, stack, order = {}, [[]], re.findall(r"\(|\)|,|'(?:[^']|'')*'|[^(),:{}]+|:[^{]+|\{\d+\}", text.rstrip(";"))
    below, length = set(), 0.0
    for token in order:
        if token == "(":
            stack.append([])
        elif token in (",", ")"):
            stack[-1].append(below)
            below = set()
            if token == ")":
                below = set().union(*stack.pop())
        elif token.startswith(":"):
            length = float(token[1:])
        elif token.startswith("{"):
            found[int(token[1:-1])] = (length, below)
        else:
            below = {token.strip("'").replace("''", "'")}
    return found


def test_a_file_reads_back(case: tuple[Placements, Reference], tmp_path: Path):
    placements, reference = case
    write_jplace(tmp_path / "p.jplace", placements, reference, "aam")
    found = json.loads((tmp_path / "p.jplace").read_text())
    assert found["version"] == 3 and found["metadata"] == {"software": "aam"}
    assert found["fields"] == ["edge_num", "likelihood", "like_weight_ratio", "distal_length", "pendant_length"]
    known, names = edges(found["tree"]), reference.tree.tip_names
    assert sorted(known) == list(range(39)) and known[38][1] == set(names)
    assert [entry["n"] for entry in found["placements"]] == [["a"], ["it's b"], ["c_c"]]
    expected = [[(1, 0.7), (18, 0.2), (10, 0.1)], [(19, 0.6), (8, 0.3), (0, 0.1)], [(15, 0.995)]]
    for entry, places in zip(found["placements"], expected, strict=True):
        assert [place[2] for place in entry["p"]] == [weight for _, weight in places]
        for (edge, likelihood, _, distal, pendant), (tip, _) in zip(entry["p"], places, strict=True):
            length, below = known[edge]
            assert likelihood == 0 and pendant == pytest.approx(0.02) and 0 <= distal <= length
            assert below == {names[tip]} and distal == pytest.approx(0.001)  # all branches are at least that long


def test_candidates_on_one_edge_are_one_place(case: tuple[Placements, Reference], tmp_path: Path):
    """From high enough up, both paths are on the branch above their common ancestor: 0.1 and 0.9 of the weight."""
    placements, reference = case
    tree, ancestors = reference.tree, reference.ancestors
    pair = next(node for node in range(39) if tree.last[node] - tree.first[node] == 2 and tree.length[node] > 0.003)
    left, right = int(tree.first[pair]), int(tree.first[pair]) + 1
    one = dataclasses.replace(placements, candidates=placements.candidates.copy(), chance=placements.chance * 0)
    one.candidates[0, :2] = left, right
    one.chance[:, :2] = 0.1, 0.9
    one.height[0, :2] = ancestors.tip_depth[[left, right]] - ancestors.depth[pair] + [0.001, 0.002]
    write_jplace(tmp_path / "p.jplace", one, reference, "aam")
    (place,) = json.loads((tmp_path / "p.jplace").read_text())["placements"][0]["p"]
    assert place == [pair, 0, 1.0, pytest.approx(0.1 * 0.001 + 0.9 * 0.002), pytest.approx(0.02)]


def test_a_jplace_file_is_no_tree(case: tuple[Placements, Reference], tmp_path: Path, capsys):
    placements, reference = case
    write_jplace(tmp_path / "p.jplace", placements, reference, "aam")
    (tmp_path / "t.tsv").write_text("#OTU ID\ts1\ts2\nACGT\t1\t2\n")
    (tmp_path / "edge.nwk").write_text("((a:1{0},b:1{1}):1{2},c:1{3}){4};")
    for name in ("p.jplace", "edge.nwk"):
        code = main(
            [
                "unifrac",
                "--table",
                str(tmp_path / "t.tsv"),
                "--tree",
                str(tmp_path / name),
                "-o",
                str(tmp_path / "u.tsv"),
            ]
        )
        said = capsys.readouterr().err.splitlines()[-1]
        assert code == 2 and "placements on a tree (jplace), not a tree" in said and "gappa examine graft" in said
