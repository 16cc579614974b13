"""The encoders that `encoder.py` compares, each applied as a user would: `aam.embed` and `aam.distance` on a table."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from encoder_data import Cohort, Places, write_table
from numpy.typing import NDArray
from placement_data import Study
from scipy import sparse

import aam
from aam.checkpoint import config_of_encoder, find_checkpoint
from aam.config import ModelConfig, option_fields
from aam.corpus.store import CORPUS_MANIFEST
from aam.io.files import digest
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

    def seen(self, name: str, places: Places) -> bool:
        """Whether it was trained on a study, as the checksums that it records of its data, or its card, say."""
        if self.name == UNTRAINED:
            return False
        names = {name, SAME_STUDY.get(name, name)}
        tables = {digest(places.folder(one) / "table.biom") for one in names}
        return bool(tables & set(checksums(self.folder)))


def cohort_key(cohort: Cohort) -> str:
    """Hash of the samples and ASVs of a cohort."""
    digest = hashlib.blake2b("\n".join(cohort.ids).encode())
    digest.update("\n".join(cohort.study.sequences).encode())
    return digest.hexdigest()


def checksums(folder: Path) -> Iterator[str]:
    """SHA-256 of all files that an encoder says to have learned from: its manifest, its corpus, its card."""
    checkpoint = find_checkpoint(folder)
    for path in (folder / MANIFEST, checkpoint.parent / MANIFEST, folder / CARD, checkpoint / CARD):
        if path.exists():
            text = path.read_text(encoding="utf-8")
            yield from SHA256.findall(text)
            yield from checksums_of_corpus(json.loads(text))


def checksums_of_corpus(record: dict[str, Any]) -> Iterator[str]:
    """Those of the tables of the corpus that a manifest names, where it still lies."""
    corpus = record.get("data", {}).get("corpus") if isinstance(record.get("data"), dict) else None
    if isinstance(corpus, dict):
        path = Path(corpus["path"])
        path = path / CORPUS_MANIFEST if path.is_dir() else path
        if path.exists():
            yield from SHA256.findall(path.read_text(encoding="utf-8"))


def open_encoder(model: str, work: Path) -> Encoder:
    """An encoder by the folder of a run or checkpoint, or by the name of a shipped one."""
    folder = Path(model)
    if not folder.exists():
        folder = Path(aam.__file__).parent / "encoders" / model
    find_checkpoint(folder)  # raises an error of one line
    return of_folder(model.rstrip("/").rpartition("/")[2], folder, work)


def of_folder(name: str, folder: Path, work: Path) -> Encoder:
    """The encoder in a folder, with a folder of its own for what it keeps."""
    own = work / f"{name}-{hashlib.blake2b(str(folder.resolve()).encode(), digest_size=4).hexdigest()}"
    own.mkdir(parents=True, exist_ok=True)
    return Encoder(name, folder, own)


def untrained(like: Encoder, work: Path) -> Encoder:
    """An encoder of the same shape after one step on the embedded example, which standardises its embeddings."""
    folder = work / f"untrained-{like.name}"
    if not (folder / MANIFEST).exists():
        shape = {name: value for name, value in asdict(like.model).items() if name in option_fields(ModelConfig)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            aam.pretrain(
                example=True, output_dir=folder, max_steps=1, preflight=False, max_bp=like.model.max_bp, seed=0, **shape
            )
    return of_folder(UNTRAINED, folder, work)
