"""The work of `aam reference`: sequences and their tree as a folder on which ASVs are placed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aam.atomic import remove_partial_files, write_text
from aam.config import option_flag
from aam.config.reference import ReferenceConfig
from aam.errors import ConfigError, ReferenceFolderError
from aam.gene.profile import gene_profile
from aam.gene.regions import Region, parse_region
from aam.io.files import LOCK, digest, lock_folder
from aam.io.packed import ROOTED_TREE, plain_file
from aam.io.sequences import SEQUENCES_TYPE
from aam.io.taxonomy import TAXONOMY_TYPE, read_taxonomy
from aam.observer import Observer
from aam.phylogeny.tree import Tree, read_tree
from aam.placement.build import (
    LeftOut,
    Matched,
    assemble,
    keep_covering,
    lineages_of,
    match_sequences,
    matched_sequences,
)
from aam.placement.parts import align_parts, begin_parts, has_parts, remove_parts
from aam.placement.reference import Reference
from aam.placement.store import LEFT_OUT, open_reference, read_record, write_reference
from aam.placement.threads import usable_cores
from aam.text import counted
from aam.workflows.notes import say_dropped, say_of_tree

ARTIFACTS = {"sequences": SEQUENCES_TYPE, "tree": ROOTED_TREE, "taxonomy": TAXONOMY_TYPE}
"""QIIME 2 type of each input, by option."""


@dataclass(frozen=True)
class Inputs:
    """The input files of a reference without gzip or .qza, by option; their names and SHA-256 as they were given."""

    plain: dict[str, Path]
    given: dict[str, Path]
    sources: dict[str, dict[str, str]]

    @classmethod
    def open(cls, config: ReferenceConfig, stack: ExitStack) -> Inputs:
        """Open the files until the stack is closed; raises ConfigError if one is not given."""
        for name, what in (("sequences", "sequences"), ("tree", "rooted phylogeny of them")):
            if getattr(config, name) is None:
                raise ConfigError(f"no {what}; give {option_flag(name)} FILE")
        given = {name: path for name in ARTIFACTS if (path := getattr(config, name)) is not None}
        plain = {
            name: stack.enter_context(plain_file(path, option_flag(name), ARTIFACTS[name]))
            for name, path in given.items()
        }
        sources = {name: {"file": path.name, "sha256": digest(path)} for name, path in given.items()}
        return cls(plain, given, sources)


def make_reference(config: ReferenceConfig, folder: Path, observer: Observer) -> Reference:
    """Write the reference of `config` into `folder`, or go on with one that was begun there, and open it.

    Raises an `InputError` for files that cannot be used or do not fit each other, and for a folder with anything else.
    """
    gene = gene_profile()
    region = parse_region(config.region, gene.last)
    with lock_folder(folder, "--output", ReferenceFolderError), ExitStack() as stack:
        with observer.stage("reading the inputs"):
            inputs = Inputs.open(config, stack)
        remove_partial_files(folder)
        if is_complete(folder, inputs, region):
            observer.say(f"{folder} is complete already")
        else:
            build(inputs, folder, region, config.threads or usable_cores(), observer)
        remove_parts(folder)
        with observer.stage("opening the reference"):
            reference = open_reference(folder)
    return reference


def is_complete(folder: Path, inputs: Inputs, region: Region | None) -> bool:
    """Whether a folder has the reference of these inputs; raises `ReferenceFolderError` if it has anything else."""
    record = read_record(folder)
    if record is None:
        if not has_parts(folder) and any(path.name != LOCK for path in folder.iterdir()):
            raise ReferenceFolderError(f"--output {folder} is a folder with other files in it; give a new one")
        return False
    wanted = {name: source["sha256"] for name, source in inputs.sources.items()}
    found = {name: source["sha256"] for name, source in record["sources"].items()}
    if found != wanted or record["region"] != describe(region):
        raise ReferenceFolderError(
            f"--output {folder} has a reference of other files or another region ({record['region']}); give another "
            "folder, or remove this one"
        )
    return True


def describe(region: Region | None) -> str:
    """A region as the record has it."""
    return "none" if region is None else f"{region.first}:{region.last}"


class Read(NamedTuple):
    """What was read: tree, the sequences that are to be aligned, and the lineage of each id, if there is a taxonomy."""

    tree: Tree
    matched: Matched
    taxonomy: dict[str, str] | None


def read_inputs(inputs: Inputs, observer: Observer) -> Read:
    """Read the files and check that they fit each other, before the work of alignment."""
    with observer.stage("reading tree and sequences"):
        tree = read_tree(inputs.plain["tree"], str(inputs.given["tree"]))
        matched = match_sequences(inputs.plain["sequences"], str(inputs.given["sequences"]), tree)
        taxonomy = None
        if path := inputs.given.get("taxonomy"):
            taxonomy = read_taxonomy(path)
            lineages_of([tree.tip_names[leaf] for leaf in matched.leaves.tolist()], taxonomy, str(path))
    say_of_tree(tree, observer)
    return Read(tree, matched, taxonomy)


def build(inputs: Inputs, folder: Path, region: Region | None, threads: int, observer: Observer) -> None:
    """Align what is not aligned yet, and write the files of the reference."""
    gene = gene_profile()
    columns = region or Region(gene.first, gene.last)
    tree, matched, taxonomy = read_inputs(inputs, observer)
    begin_parts(folder, {option: inputs.sources[option]["sha256"] for option in ("sequences", "tree")})
    with observer.progress("aligning") as progress:
        sequences = matched_sequences(inputs.plain["sequences"], str(inputs.given["sequences"]), tree)
        align_parts(folder, sequences, gene, threads, progress, len(matched.leaves))
    with observer.stage("writing the reference"):
        aligned = assemble(folder, matched, tree, columns, gene)
        if region is not None:
            aligned = keep_covering(aligned, region, matched.left_out)
        names, lineages = aligned.tree.tip_names, None
        if taxonomy is not None:
            lineages = lineages_of(names, taxonomy, str(inputs.given["taxonomy"]))
        left_out = {reason: ids for reason, ids in matched.left_out.items() if ids}
        about = {
            "region": describe(region),
            "counts": {"tips": len(names), "columns": aligned.rows.shape[1], "turned": aligned.turned},
            "left_out": {reason: len(ids) for reason, ids in left_out.items()},
            "sources": inputs.sources,
        }
        write_text(folder / LEFT_OUT, left_out_text(left_out))
        reference = Reference(aligned.tree, aligned.rows.T, columns.first, lineages)
        write_reference(folder, reference, aligned.rows, about, threads)
    say_dropped(left_out, observer)
    if aligned.turned:
        observer.say(f"turned: {counted(aligned.turned, 'sequences')} of the minus strand")
    if lacking := sum(not lineage for lineage in lineages or ()):
        observer.warn(f"{lacking:,} of {len(names):,} tips have no lineage in {inputs.given['taxonomy']}")


def left_out_text(left_out: LeftOut) -> str:
    """The ids that were left out, with the reason, as tab-separated text."""
    return "id\treason\n" + "".join(f"{name}\t{reason}\n" for reason, ids in left_out.items() for name in ids)
