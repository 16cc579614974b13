"""What reads files of strangers: each parser with sound files, from which tests and the fuzzer make damaged ones."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import biom
import h5py
import numpy as np
import torch
from generated_samples import tiny_model
from safetensors.torch import save

from aam.cli.options import read_config_file
from aam.config import PretrainConfig, from_options, to_dict
from aam.errors import ConfigError, InputError
from aam.io.files import digest
from aam.io.ids import read_ids
from aam.io.matrix import read_matrix
from aam.io.metadata import read_metadata
from aam.io.packed import ROOTED_TREE, plain_file
from aam.io.sequences import read_sequences
from aam.io.table import read_table
from aam.phylogeny.tree import read_tree
from aam.stored import CONFIG, MODEL, TRAINING, read_stored

SAMPLES, ASVS = ["s1", "s2", "s3"], ["ACGT", "TTTT", "GGCC", "AACC"]
COUNTS = np.array([[5, 0, 2, 1], [0, 7, 0, 3], [1, 1, 1, 1]], dtype=float)
"""[samples, ASVs]"""
DISTANCES = np.array([[0, 0.25, 1], [0.25, 0, 0.5], [1, 0.5, 0]])
TSV = b"# Constructed from biom file\n#OTU ID\ts1\ts2\ttaxonomy\nACGT\t5\t0\tk__A; p__B\nTTTT\t1.0\t7\t\n"
NEWICK = b"((ACGT:1,'TT''T':2e-1)a:1,[c[d]](GGCC:4,AACC:5)'b b':3.5):0.5;\n"
FASTA = b">ACGT one\nACGT\nACGT\n>TTTT;size=3;\nttttNR\n>c\nGGCC\n"
METADATA = (
    "#SampleID\tage\tsite\tsubject\n#q2:types\tnumeric\tcategorical\tcategorical\n"
    's1\t3\tgut\t01\n1.10\t4.5\t"skin"\t1\nNA\t\té\tnot collected\n'
).encode()
YAML = b"table: table.biom\nlr: 1e-4\ntoken_limit: 512\nbatch_size: 8\nresume: false\n'precision': bf16\nseed: 0\n"


class Parser(NamedTuple):
    """A reader of one path, the name its file has, and sound contents of such a file."""

    read: Callable[[Path], object]
    file: str
    seeds: Callable[[Path], list[bytes]]


def hdf5_tables(folder: Path) -> list[bytes]:
    """BIOM 2.1 by `biom`, with and without compression."""
    found = []
    for compress in (True, False):
        with h5py.File(folder / "seed.h5", "w") as file:
            biom.Table(COUNTS.T, ASVS, SAMPLES).to_hdf5(file, "test", compress=compress)
        found.append((folder / "seed.h5").read_bytes())
    return found


def json_tables(folder: Path) -> list[bytes]:
    """BIOM 1, sparse and dense."""
    sparse = json.loads(biom.Table(COUNTS.T, ASVS, SAMPLES).to_json("test"))
    dense = sparse | {"matrix_type": "dense", "data": COUNTS.T.astype(int).tolist()}
    return [json.dumps(value).encode() for value in (sparse, dense)]


def artifacts(folder: Path) -> list[bytes]:
    """A tree and its table as QIIME 2 packs them."""
    return [
        artifact("Phylogeny[Rooted]", "tree.nwk", NEWICK),
        artifact("FeatureTable[Frequency]", "feature-table.biom", hdf5_tables(folder)[0]),
    ]


def artifact(kind: str, file: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A QIIME 2 artifact with `content` in `<uuid>/data/<file>`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        archive.writestr("0b7d1c2e/metadata.yaml", f"uuid: 0b7d1c2e\ntype: {kind}\nformat: null\n")
        archive.writestr(f"0b7d1c2e/data/{file}", content)
    return packed.getvalue()


def read_packed_tree(path: Path) -> object:
    """The tree in a Newick file, plain, packed by gzip or in an artifact, as `--tree` takes it."""
    with plain_file(path, "--tree", ROOTED_TREE) as plain:
        return read_tree(plain, str(path))


def read_artifact(path: Path) -> object:
    """The tree or else the table of an artifact."""
    try:
        return read_packed_tree(path)
    except InputError:
        return read_table(path)


def matrices(folder: Path) -> list[bytes]:
    """Distances as text, HDF5 and .npy; of the last the ids lie in a file of their own."""
    rows = zip(SAMPLES, DISTANCES.tolist(), strict=True)
    text = "".join("\t".join([name, *map(repr, row)]) + "\n" for name, row in rows)
    with h5py.File(folder / "seed.h5", "w") as file:
        file.create_dataset("matrix", data=DISTANCES)
        file.create_dataset("order", data=np.array(SAMPLES, dtype=object))
    array = io.BytesIO()
    np.save(array, DISTANCES)
    head = "\t" + "\t".join(SAMPLES) + "\n"
    return [(head + text).encode(), (folder / "seed.h5").read_bytes(), array.getvalue()]


def read_distances(path: Path) -> object:
    """`read_matrix`, with ids beside a .npy."""
    path.with_name(f"{path.stem}.ids.txt").write_text("\n".join(SAMPLES) + "\n")
    return read_matrix(path)


def weights(folder: Path) -> list[bytes]:
    """A file of tensors as checkpoints have it."""
    return [save({"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)})]


def read_weights(path: Path) -> object:
    """The tensors of a checkpoint whose record of digests fits its file, so that nothing but the file can be wrong."""
    about = ABOUT | {"sha256": {MODEL: digest(path)}}
    (path.parent / CONFIG).write_text(json.dumps(about))
    return read_stored(path.parent).tensors(MODEL)


ABOUT = {"format": 1, "kind": "pretrain", **to_dict(PretrainConfig(model=tiny_model()))}
"""What `config.json` of a checkpoint holds, but for the digests of its files."""


def config_files(folder: Path) -> list[bytes]:
    """`config.json` of a checkpoint."""
    return [json.dumps(ABOUT | {"sha256": {MODEL: "0" * 64, TRAINING: "0" * 64}}).encode()]


def read_options(path: Path) -> object:
    """The configuration that a YAML file describes; options that no field has are for the command line to refuse."""
    values = read_config_file(path)
    try:
        return from_options(PretrainConfig, values)
    except ConfigError as refusal:  # names the option, which stands in the file
        raise ConfigError(f"{path}: {refusal}") from refusal


PARSERS = {
    "table-hdf5": Parser(read_table, "table.biom", hdf5_tables),
    "table-json": Parser(read_table, "table.biom", json_tables),
    "table-tsv": Parser(read_table, "table.tsv", lambda _: [TSV, gzip.compress(TSV)]),
    "newick": Parser(read_packed_tree, "tree.nwk", lambda _: [NEWICK, gzip.compress(NEWICK)]),
    "fasta": Parser(read_sequences, "sequences.fasta", lambda _: [FASTA, gzip.compress(FASTA)]),
    "metadata": Parser(read_metadata, "metadata.tsv", lambda _: [METADATA]),
    "qza": Parser(read_artifact, "artifact.qza", artifacts),
    "matrix": Parser(read_distances, "distances.npy", matrices),
    "weights": Parser(read_weights, MODEL, weights),
    "config": Parser(lambda path: read_stored(path.parent), CONFIG, config_files),
    "yaml": Parser(read_options, "run.yaml", lambda _: [YAML]),
    "ids": Parser(read_ids, "ids.txt", lambda _: [b"#SampleID\ns1\n1.10\n"]),
}
"""By name."""


def assert_answer_or_refusal(parser: Parser, content: bytes, folder: Path) -> bool:
    """Whether a parser read the content; else it refused it in one line that names the file. Anything else raises."""
    path = folder / parser.file
    path.write_bytes(content)
    try:
        parser.read(path)
    except InputError as refusal:
        message = str(refusal)
        assert "\n" not in message and "\r" not in message, f"a refusal of several lines: {message!r}"
        assert str(folder) in message, f"a refusal that does not name the file: {message}"
        return False
    return True
