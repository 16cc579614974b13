"""Entries 74 to 88: checkpoints that are damaged, foreign or made to do harm."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from attempts import Attempt, Case, Entries, hold
from generated_samples import community, write_files
from safetensors.torch import load_file, save_file
from trained_run import save_run

from aam.checkpoint import load_checkpoint, save_checkpoint

entry = Entries()


def embed(folder: Path, words: str, code: int = 2) -> Attempt:
    """An attempt to embed a table with the model of the run."""
    write_files(community(samples=5, asvs=8, richness=4), folder)
    (folder / "out.tsv").unlink(missing_ok=True)
    files = ["--model", folder / "run", "--table", folder / "table.tsv", "-o", folder / "out.tsv"]
    return Attempt(["embed", *files, "--device", "cpu"], words, folder / "run" if code else "", code)


def model(folder: Path) -> Path:
    """The weights of a sound run."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    return save_run(folder / "run") / "best" / "model.safetensors"


class Command:
    """What a pickle runs when it is read."""

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return print, ("THE PICKLE RAN",)


@entry(74)
def pickle_in_place_of_the_weights(folder: Path) -> Iterator[Attempt]:
    packed = io.BytesIO()
    torch.save({"a": torch.ones(2)}, packed)
    for content in (pickle.dumps(Command()), packed.getvalue()):
        model(folder).write_bytes(content)
        yield embed(folder, "^(?!(.|\\n)*THE PICKLE RAN)(.|\\n)*(not a readable checkpoint|has changed)")


@entry(75)
def truncated(folder: Path) -> Iterator[Attempt]:
    for part in (0.0, 0.5, 0.99):
        whole = model(folder).read_bytes()
        model(folder).write_bytes(whole[: int(part * len(whole))])
        yield embed(folder, "not a readable checkpoint|has changed|empty|damaged")


@entry(76)
def flipped_bit(folder: Path) -> Iterator[Attempt]:
    for name in ("model.safetensors", "config.json"):
        file = model(folder).with_name(name)
        content = bytearray(file.read_bytes())
        place = -1 if name != "config.json" else content.index(b'"lr"') + 8
        content[place] ^= 1
        file.write_bytes(content)
        yield embed(folder, f"{name}.*(has changed|differ|SHA-256|digest|damaged)")


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@entry("77 78")
def claims_of_size(folder: Path) -> Iterator[Attempt]:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (50 << 20))
    contents = [
        safetensors({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        safetensors({"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 4]}}, b"1234"),
        struct.pack("<Q", 2**63) + b"{}",
        b"\xff" * 8 + b"{" * 100,
        safetensors("[" * 10), struct.pack("<Q", 200_000) + b"[" * 200_000,
        bomb.getvalue(),
    ]  # fmt: skip
    for content in contents:
        model(folder).write_bytes(content)
        yield embed(folder, "not a readable checkpoint|has changed|damaged")


@entry("79 80")
def weights_that_are_not_finite(folder: Path) -> Attempt:
    model(folder)
    stored = load_checkpoint(folder / "run" / "best")
    next(iter(stored.model.values())).view(-1)[0] = torch.nan
    save_checkpoint(folder / "run" / "best", stored)
    return embed(folder, "model.safetensors: .* holds NaN or Inf; use an earlier checkpoint")


@entry(81)
def another_version_or_shape(folder: Path) -> Iterator[Attempt]:
    changes = {"format": (999, "format 999, expected"), "kind": ("wide", "kind 'wide'"), "model": ({"dimm": 3}, "dimm")}
    for key, (value, words) in changes.items():
        file = model(folder).with_name("config.json")
        file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
        yield embed(folder, f"config.json.*({words}|has changed)")
    file = model(folder)
    tensors = load_file(file)
    tensors["another"] = torch.ones(3)
    save_file(tensors, file)
    yield embed(folder, "has changed|disagree")


@entry("98")
def folder_of_something_else(folder: Path) -> Attempt:
    (folder / "run").mkdir()
    (folder / "run" / "notes.txt").write_text("nothing")
    return embed(folder, "no checkpoint here, expected a run directory")


def test_checkpoint(case: Case, tmp_path: Path) -> None:
    hold(case, tmp_path)


test_checkpoint = entry.parametrize()(test_checkpoint)
