"""Embeddings of the ASVs of a table, and a cache of them on disk by sequence and weights.

The folder of a cache has a sub-folder for each ASV encoder, named by the hash of its weights and, where it is not fp32,
the precision of its products. It holds parts in safetensors: `keys` uint8 [n, 16], hashes of the tokens, and
`embeddings` float32 [n, D]. A part is written atomically as soon as it is full, so an interrupted run loses
at most one part. Several processes may write, since a part is named by the hash of its keys.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from aam.atomic import follow_umask, replace_file
from aam.config import Precision
from aam.errors import CheckpointError, ConfigError, machine_error
from aam.io.files import refuse_inside, refuse_unwritable
from aam.io.sequences import hash_sequences, unpadded_rows
from aam.models.chunked_encoder import ChunkedEncoder
from aam.models.devices import set_product_precision, to_single_precision
from aam.models.pretrain_model import PretrainModel
from aam.observer import Progress, no_progress

ASV_ROWS = 512
"""ASVs encoded at once; bounds memory and does not change results."""
KEY_BYTES = 16
PART_ROWS = 4096
"""ASVs of a part: what an interruption loses at most."""


class EncodedASVs(NamedTuple):
    """The ASVs that are columns `columns` int64 [U] of a table, ascending, and their `embeddings` [U, D]."""

    columns: NDArray[np.int64]
    embeddings: Tensor


def device_of(model: PretrainModel) -> torch.device:
    """The device of the weights."""
    return next(model.parameters()).device


@torch.inference_mode()
def encode_asvs(
    model: PretrainModel,
    tokens: NDArray[np.uint8],
    columns: NDArray[np.int64],
    store: ASVCache | None = None,
    progress: Progress = no_progress,
    precision: Precision = "fp32",
) -> EncodedASVs:
    """Embed the ASVs that are `columns` [U] (ascending) of tokens [A, L]; those in `store` are not encoded again.

    In bfloat16 embeddings differ by about 0.5 % of their size, and the distances between them by 0.1 %.
    """
    device, known = device_of(model), np.zeros(len(columns), dtype=bool)
    embeddings: Tensor | None = None
    if store is not None:
        known, found = store.find(tokens[columns])
        embeddings = torch.zeros(len(columns), found.shape[1])
        embeddings[torch.from_numpy(known)] = torch.from_numpy(found)
    missing = np.flatnonzero(~known)
    parts = []
    for start in range(0, len(missing), ASV_ROWS):
        some = tokens[columns[missing[start : start + ASV_ROWS]]]
        with set_product_precision(precision, device):
            encoded = model.asv_encoder.embed(torch.from_numpy(some).to(device))
        parts.append(to_single_precision(encoded))
        if store is not None:
            store.add(some, parts[-1].float().cpu().numpy())
        progress(min(start + ASV_ROWS, len(missing)), len(missing))
    if embeddings is None:
        return EncodedASVs(columns, torch.cat(parts))
    if parts:
        embeddings[torch.from_numpy(missing)] = torch.cat(parts).float().cpu()
    return EncodedASVs(columns, embeddings.to(device))


def weights_hash(encoder: ChunkedEncoder) -> str:
    """Hash of names, shapes and values of all tensors of an encoder, hexadecimal."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for name, tensor in sorted(encoder.state_dict().items()):
        values = tensor.detach().float().cpu().contiguous().numpy()
        digest.update(f"{name} {values.shape} ".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def token_keys(tokens: NDArray[np.uint8]) -> list[bytes]:
    """The key of each ASV [A] by its tokens [A, L]."""
    return [key.tobytes() for key in hash_sequences(unpadded_rows(tokens), KEY_BYTES)]


class ASVCache:
    """Embeddings of ASVs in a folder; leaving the `with` block writes the part that is not yet on disk."""

    def __init__(self, folder: Path, encoder: ChunkedEncoder, dim: int, precision: Precision = "fp32"):
        refuse_unwritable(folder, "--cache", ConfigError)
        refuse_inside(folder, "--cache")
        name = weights_hash(encoder) + ("" if precision == "fp32" else f"-{precision}")
        self.folder, self.dim = Path(folder) / name, dim
        self.folder.mkdir(parents=True, exist_ok=True)
        self._where: dict[bytes, tuple[Path, int]] = {}
        for path in sorted(self.folder.glob("[!.]*.safetensors")):
            self._index(path)
        self._keys: list[bytes] = []
        self._rows: list[NDArray[np.float32]] = []

    def __len__(self) -> int:
        return len(self._where) + len(self._keys)

    def find(self, tokens: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Which ASVs of tokens [U, L] are on disk, bool [U], and the embeddings [known, D] of those, in their order."""
        places = [self._where.get(key) for key in token_keys(tokens)]
        known = np.array([place is not None for place in places], dtype=bool)
        by_part: dict[Path, list[tuple[int, int]]] = {}
        for number, place in enumerate(place for place in places if place is not None):
            by_part.setdefault(place[0], []).append((number, place[1]))
        found = np.zeros((int(known.sum()), self.dim), dtype=np.float32)
        for path, wanted in by_part.items():
            embeddings = self._read(path, "embeddings", self.dim)
            numbers, rows = np.array(wanted).T
            found[numbers] = embeddings[rows]
        return known, found

    def add(self, tokens: NDArray[np.uint8], embeddings: NDArray[np.float32]) -> None:
        """Keep the embeddings [n, D] of ASVs, tokens [n, L]; on disk once a part is full or `flush` is called."""
        self._keys += token_keys(tokens)
        self._rows += list(embeddings.astype(np.float32))
        if len(self._keys) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the part that is not yet on disk."""
        if not self._keys:
            return
        keys = np.frombuffer(b"".join(self._keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
        path = self.folder / f"{hashlib.blake2b(keys.tobytes(), digest_size=KEY_BYTES).hexdigest()}.safetensors"
        with replace_file(path) as partial:
            save_file({"keys": keys.copy(), "embeddings": np.stack(self._rows)}, partial)
            follow_umask(partial)
        self._where |= {key: (path, row) for row, key in enumerate(self._keys)}
        self._keys, self._rows = [], []

    def __enter__(self) -> ASVCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()  # after an error too: what was encoded is right

    def _index(self, path: Path) -> None:
        for row, key in enumerate(self._read(path, "keys", KEY_BYTES)):
            self._where[key.tobytes()] = (path, row)

    def _read(self, path: Path, name: str, width: int) -> NDArray:
        """One array [n, width] of a part; raises CheckpointError if the file is damaged."""
        try:
            with safe_open(path, framework="numpy") as part:
                values = part.get_tensor(name)
        except (SafetensorError, OSError) as error:
            if (machine := machine_error(error, path)) is not None:
                raise machine from error
            raise CheckpointError(f"--cache {path}: damaged ({error}); remove this file, it is made again") from error
        if values.ndim != 2 or values.shape[1] != width or not np.isfinite(values).all():
            raise CheckpointError(
                f"--cache {path}: {name} of shape {values.shape}, expected finite rows of {width}; remove this file"
            )
        return values


def open_cache(
    folder: Path | None, encoder: ChunkedEncoder, dim: int, precision: Precision
) -> AbstractContextManager[ASVCache | None]:
    """The cache in a folder, None if there is no folder."""
    return nullcontext() if folder is None else ASVCache(folder, encoder, dim, precision)
