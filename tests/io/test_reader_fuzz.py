"""Whatever stands in a file, a reader returns its record or raises an InputError of one line; nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aam.errors import InputError
from aam.io.ids import read_ids
from aam.io.matrix import read_matrix
from aam.io.metadata import read_metadata
from aam.io.sequences import read_sequences
from aam.io.table import read_table

LINES = st.text("ACGT0019.-e\t\t\t\n\n#>\"'\r, \0é\x85", max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ACs{", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["rows", "columns", "data", "shape", "matrix_type", "id"]), inner, max_size=5)
    ),
    max_leaves=12,
)
CONTENT = st.one_of(
    LINES.map(str.encode),
    LINES.map(lambda text: b"#OTU ID\ta\tb\n" + text.encode("latin-1")),
    LINES.map(lambda text: b"sample-id\ta\n" + text.encode()),
    LINES.map(lambda text: b">a\n" + text.encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
    st.sampled_from([b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x93NUMPY\x01\0"]).flatmap(
        lambda magic: st.binary(max_size=60).map(lambda rest: magic + rest)
    ),
)


@pytest.mark.parametrize("reader", [read_table, read_sequences, read_matrix, read_metadata, read_ids])
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=CONTENT)
@example(content=b"#OTU ID\ta\nAC\t1\0\n")
@example(content=b'#OTU ID\t"a\nAC\t1\n')
@example(content=b"\ta\na\t0\n")
@example(content=b"sample-id\t#q2:types\na\t1\n")
def test_a_reader_answers_or_refuses_in_one_line(reader, content, tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(content)
    message = str(path)
    try:
        reader(path)
    except InputError as refusal:
        message = str(refusal)
    assert "\n" not in message and str(path) in message
