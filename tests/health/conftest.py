"""Small models of five kinds."""

from __future__ import annotations

import pytest
from subjects import SUBJECTS, Subject


@pytest.fixture(params=list(SUBJECTS))
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each of the models in turn."""
    return SUBJECTS[request.param]()
