"""The encoders that `encoder.py` compares, each applied as a user would: `aam.embed` and `aam.distance` on a table."""

from __future__ import annotations

import hashlib
import re
import shutil
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from encoder_data import Cohort, Places, write_table
from numpy.typing import NDArray
from placement_data import Study
from scipy import sparse

import aam
from aam.checkpoint import config_of_encoder, find_checkpoint
from aam.config import ModelConfig, option_fields
from aam.corpus.store import CORPUS_MANIFEST
from aam.folders import BEST
from aam.io.files import digest
from aam.stored import CONFIG
from aam.training.manifest import MANIFEST

Floats = NDArray[np.float64]
UNTRAINED = "untrained"
CARD = "card.json"
SAME_STUDY = {"ibd-2538": "herfarth", "herfarth": "ibd-2538"}
"""Samples of one study under two names."""
SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True)
class Encoder:
    """A trained model in `folder`, called `name`; embeddings of ASVs and of cohorts are kept in `work`."""

    name: str
    folder: Path
    work: Path
    kept: dict[str, Floats] = field(default_factory=dict)

    def embed(self, cohort: Cohort) -> Floats:
        """Embeddings of samples [N, D]; the same cohort is embedded once."""
        key = cohort_key(cohort)
        if key not in self.kept:
            path = cohort.write(self.work / "table.biom")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = aam.embed(path, model=self.folder, cache=self.work / "asvs")
            self.kept[key] = found.loc[cohort.ids].to_numpy(np.float64)
        return self.kept[key]

    def embed_asvs(self, sequences: list[str]) -> Floats:
        """Embeddings of ASVs [A, D] with distinct DNA."""
        counts = sparse.csr_array(np.ones((1, len(sequences)), dtype=np.int64))
        path = write_table(Study("asvs", sequences, sequences, counts), ["all"], self.work / "table.biom")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = aam.embed(path, model=self.folder, cache=self.work / "asvs", what="asvs")
        return found.loc[sequences].to_numpy(np.float64)

    def unifrac(self, cohort: Cohort) -> Floats:
        """UniFrac [N, N] as the latent tree tells it, in the units of training."""
        path = cohort.write(self.work / "table.biom")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = aam.distance(path, model=self.folder, cache=self.work / "asvs", method="latent-tree")
        return np.asarray(found.filter(cohort.ids).data)

    @property
    def model(self) -> ModelConfig:
        """Its size and shape."""
        return config_of_encoder(self.folder).model

    def seen(self, names: Iterable[str], places: Places) -> str:
        """Whether it was trained on one of some studies: "seen", "new", or "?" if it does not say what it has seen."""
        if self.name == UNTRAINED:
            return "new"
        known = checksums(self.folder)
        both = {one for name in names for one in (name, SAME_STUDY.get(name, name))}
        tables = {table_digest(places.folder(one) / "table.biom") for one in both}
        return "?" if not known else "seen" if known & tables else "new"


@cache
def table_digest(path: Path) -> str:
    """SHA-256 of a table, kept."""
    return digest(path)


def cohort_key(cohort: Cohort) -> str:
    """Hash of the samples and ASVs of a cohort."""
    digest = hashlib.blake2b("\n".join(cohort.ids).encode())
    digest.update("\n".join(cohort.study.sequences).encode())
    return digest.hexdigest()


@cache
def checksums(folder: Path) -> frozenset[str]:
    """SHA-256 of the files that an encoder has learned from: of its manifest, its card, its table or corpus."""
    checkpoint = find_checkpoint(folder)
    data = config_of_encoder(folder).data
    texts = [digest(data.table)] if data.table is not None and data.table.exists() else []
    for place in (folder / MANIFEST, checkpoint.parent / MANIFEST, folder / CARD, checkpoint / CARD):
        texts += [place.read_text(encoding="utf-8")] if place.exists() else []
    if data.corpus is not None and (manifest := data.corpus / CORPUS_MANIFEST).exists():
        texts.append(manifest.read_text(encoding="utf-8"))
    return frozenset(found for text in texts for found in SHA256.findall(text))


def open_encoders(models: Sequence[str], work: Path) -> list[Encoder]:
    """Encoders by the folder of a run or checkpoint, or by the name of a shipped one, each with a name of its own."""
    found, names = [], set[str]()
    for number, model in enumerate(models, start=1):
        folder = Path(model) if Path(model).exists() else Path(aam.__file__).parent / "encoders" / model
        find_checkpoint(folder)  # raises an error of one line
        name = folder.resolve().name
        name = f"{name}-{number}" if name in names | {UNTRAINED} else name
        names.add(name)
        found.append(of_folder(name, folder, work))
    return found


def of_folder(name: str, folder: Path, work: Path) -> Encoder:
    """The encoder in a folder, with a folder of its own for what it keeps."""
    own = work / f"{name}-{hashlib.blake2b(str(folder.resolve()).encode(), digest_size=4).hexdigest()}"
    own.mkdir(parents=True, exist_ok=True)
    return Encoder(name, folder, own)


def untrained(like: Encoder, work: Path) -> Encoder:
    """An encoder of the same shape after one step on the embedded example, which standardises its embeddings."""
    shape = {name: value for name, value in asdict(like.model).items() if name in option_fields(ModelConfig)}
    shape |= {"positions": like.model.positions} | (
        {"max_bp": like.model.max_bp} if like.model.positions == "read" else {}
    )
    key = hashlib.blake2b(repr(sorted(shape.items())).encode(), digest_size=4).hexdigest()
    folder = work / f"{UNTRAINED}-{key}"
    if not (folder / BEST / CONFIG).exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a call that was stopped
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            aam.pretrain(example=True, output_dir=folder, max_steps=1, preflight=False, seed=0, **shape)
    return of_folder(UNTRAINED, folder, work)
