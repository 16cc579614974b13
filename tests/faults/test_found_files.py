"""Files on which a parser once crashed, hung or failed otherwise, as the fuzzer found them."""

from __future__ import annotations

from pathlib import Path

import pytest
from attempts import within_limits
from parsers import PARSERS, assert_answer_or_refusal

FOUND = sorted(path for path in (Path(__file__).parent / "found").rglob("*") if path.is_file())


def try_file(found: Path, folder: Path) -> None:
    """In the forked process."""
    assert_answer_or_refusal(PARSERS[found.parent.name], found.read_bytes(), folder)


@pytest.mark.parametrize("found", FOUND, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_found(found: Path, tmp_path: Path) -> None:
    code, said = within_limits(try_file, (found, tmp_path), tmp_path / "said")
    assert code == 0, said
