"""The two encoders as programs of torch.export, which run without this package on any number of ASVs or samples.

| program | inputs | result |
|---|---|---|
| asvs | tokens uint8 [U, L], PAD behind the bases | embeddings [U, D] |
| samples | ASV embeddings [B, S, D], relative abundances [B, S], which slots are real bool [B, S] | embeddings [B, D] |
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from aam import vocab
from aam.checkpoint import open_encoder
from aam.config import ModelConfig
from aam.config.apply import ExportConfig, ExportWhat
from aam.errors import AamError
from aam.io.output import new_file, write_through_memory
from aam.models.chunked_encoder import ChunkedEncoder
from aam.models.pretrain_model import PretrainModel
from aam.models.sample_encoder import SampleEncoder
from aam.observer import Observer
from aam.workflows.model_names import find_model
from aam.workflows.notes import say_last_checkpoint

ABOUT = "aam.json"
"""What to know for the program's use, within its file."""
EXPORT_TOLERANCE = 1e-5
"""Largest difference to the model that a program may show."""
TRACED, TRIED = 3, (1, 2, 8)
"""Rows that a program is made from, and those that it is tried on."""
SLOTS = (1, 5, 70)
"""Slots of samples that a program is tried on, and made from (the middle one)."""


@dataclass(frozen=True)
class Exported:
    """A program, its largest difference to the model, and the description of its inputs."""

    program: ExportedProgram
    difference: float
    about: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write the program, with its weights and `ABOUT`, to one file, which `torch.export.load` reads."""
        with new_file(path) as partial, write_through_memory(partial) as memory:
            torch.export.save(self.program, memory, extra_files={ABOUT: json.dumps(self.about)})


class ASVProgram(nn.Module):
    """tokens [U, L] -> embeddings [U, D]."""

    def __init__(self, encoder: ChunkedEncoder, config: ModelConfig):
        super().__init__()
        self.encoder = encoder
        encoder.packs = False  # how many columns the rows have is no number of the program
        # A sequence within one patch would need a program of its own.
        shortest, longest = config.patch + 2, config.max_bp + 1
        self.lengths = (shortest, (shortest + longest) // 2, longest)
        self.shapes = {"tokens": {0: Dim("U"), 1: Dim("L", min=shortest, max=longest)}}
        letters = {"ACGT"[token - vocab.A]: token for token in (vocab.A, vocab.C, vocab.G, vocab.T)}
        tokens = {"padding": vocab.PAD, **letters, "start": vocab.START, "unknown": vocab.MASK}
        self.about = {"inputs": ["tokens uint8 [U, L]"], "length": [shortest, longest], "tokens": tokens}

    def forward(self, tokens: Tensor) -> Tensor:
        return self.encoder.encode(tokens).embeddings

    def example(self, rows: int, length: int) -> tuple[Tensor, ...]:
        """Random sequences; the last one is shorter."""
        tokens = torch.randint(vocab.A, vocab.T + 1, (rows, length), dtype=torch.uint8)
        tokens[:, 0], tokens[-1, length // 2 + 1 :] = vocab.START, vocab.PAD
        return (tokens,)


class SampleProgram(nn.Module):
    """asvs [B, S, D], abundance [B, S], valid [B, S] -> embeddings [B, D]."""

    def __init__(self, encoder: SampleEncoder, config: ModelConfig):
        super().__init__()
        self.encoder, self.dim, self.lengths = encoder, config.dim, SLOTS
        axes = {0: Dim("B"), 1: Dim("S")}
        self.shapes = {"asvs": axes, "abundance": axes, "valid": axes}
        self.about = {"inputs": [f"asvs float32 [B, S, {config.dim}]", "abundance float32 [B, S]", "valid bool [B, S]"]}

    def forward(self, asvs: Tensor, abundance: Tensor, valid: Tensor) -> Tensor:
        return self.encoder.encode(asvs, abundance, valid).embeddings

    def example(self, rows: int, slots: int) -> tuple[Tensor, ...]:
        """Random samples; the last one is smaller."""
        valid = torch.ones(rows, slots, dtype=torch.bool)
        valid[-1, slots // 2 + 1 :] = False
        abundance = torch.rand(rows, slots) * valid
        return torch.randn(rows, slots, self.dim), abundance / abundance.sum(1, keepdim=True), valid


def export_model(model: Path, config: ExportConfig, observer: Observer) -> Exported:
    """One of the encoders of a trained model as a program."""
    model = find_model(model, observer)
    say_last_checkpoint(model, observer)
    return export_encoder(*open_encoder(model), config.what)


@torch.no_grad()
def export_encoder(model: PretrainModel, config: ModelConfig, what: ExportWhat) -> Exported:
    """One of the encoders of a model on the CPU; raises AamError if the program differs from the model."""
    model.eval()
    module = ASVProgram(model.asv_encoder, config) if what == "asvs" else SampleProgram(model.sample_encoder, config)
    program = export(module, module.example(TRACED, module.lengths[1]), dynamic_shapes=module.shapes, strict=False)
    run, difference = program.module(), 0.0
    for rows in TRIED:
        for length in module.lengths:
            given = module.example(rows, length)
            difference = max(difference, float((run(*given) - module(*given)).abs().max()))
    if not difference <= EXPORT_TOLERANCE:
        raise AamError(
            f"--what {what}: the program differs from the model by {difference:g}, expected {EXPORT_TOLERANCE:g}"
        )
    return Exported(program, difference, {"what": what, "dim": config.dim, **module.about})
