"""ASV encoder: computes an embedding of each ASV from its nucleotide tokens, and predicts hidden nucleotides."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aam import vocab
from aam.config import ModelConfig
from aam.errors import ConfigError
from aam.models.attention_pooling import AttentionPooling
from aam.models.chunked_encoder import ChunkedEncoder, Cost, Encoded, log_frequencies
from aam.models.layers import Transformer, take_rows
from aam.models.mlp_encoder import MLPEncoder


class Patches(NamedTuple):
    """Patches that the transformer reads: `bases` [U, P - 1, patch], and which positions [U, P] are `valid`, None: all.

    `first` [U]: number of the first patch of each row; None if all patches are there.
    """

    bases: Tensor
    valid: Tensor | None
    first: Tensor | None


class ASVEncoder(ChunkedEncoder):
    """Transformer over the nucleotides of one ASV, with attention pooling and a nucleotide head.

    `patch` neighbouring bases share a transformer position, as pixels do in image transformers. The input of a position
    is the sum of one embedding per base, which depends on the base and its place in the patch. The head predicts each
    base of a patch separately, as a change to the log frequencies of its position.

    Positions are those in the read, or columns of the gene. In the latter case a row has bases in a part of its patches
    only, and the transformer reads these alone.
    """

    def __init__(self, config: ModelConfig | None = None):
        super().__init__()
        config = config or ModelConfig()
        self.patch, self.max_bp, self.dim = config.patch, config.max_bp, config.dim
        patches = -(-config.max_bp // config.patch)
        self.positions = 1 + patches
        self.by_column = self.packs = config.positions == "gene"
        self.start = nn.Embedding(vocab.VOCAB_SIZE, config.dim)
        self.base = nn.Embedding(config.patch * vocab.VOCAB_SIZE, config.dim)
        self.position = nn.Parameter(torch.empty(1 + patches, config.dim))
        self.dropout = config.asv_dropout
        self.transformer = Transformer(config.dim, config.heads, config.asv_layers, config.ffn_ratio, self.dropout)
        self.pooling = AttentionPooling(config.dim, config.pool_queries)
        self.nucleotide_head = nn.Linear(config.dim, config.patch * vocab.OUTPUT_SIZE)
        self.prior = nn.Embedding(1 + config.max_bp, vocab.OUTPUT_SIZE)
        nn.init.zeros_(self.prior.weight)
        nn.init.normal_(self.start.weight)
        nn.init.normal_(self.base.weight, std=config.patch**-0.5)
        nn.init.normal_(self.position, std=0.5)

    def forward(self, tokens: Tensor, return_nucleotides: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """tokens [B, S, L] -> embeddings [B, S, D], on request with nucleotide logits [B, S, L, 6].

        Slots that hold only PAD never reach the transformer; their embeddings and logits are zeros.
        """
        present = (tokens != vocab.PAD).any(dim=-1)
        encoded = self.encode(tokens[present])
        embeddings = encoded.embeddings.new_zeros(*present.shape, self.dim)
        embeddings[present] = encoded.embeddings
        if not return_nucleotides:
            return embeddings
        logits = self.nucleotides(encoded, tokens.shape[-1])
        nucleotides = logits.new_zeros(*tokens.shape, vocab.OUTPUT_SIZE)
        nucleotides[present] = logits
        return embeddings, nucleotides

    def encode(self, tokens: Tensor, full: bool = False) -> Encoded:
        tokens = tokens.long()
        patches = self._patches(tokens, full)
        states = self.transformer(self._embed(tokens, patches), patches.valid)
        return Encoded(states, self.pooling(states, patches.valid), patches.first)

    def cost(self, length: int) -> Cost:
        positions = 1 + -(-(length - 1) // self.patch)
        return Cost(positions, self.transformer.numbers(positions))

    def trimmed(self, tokens: Tensor) -> tuple[Tensor, bool]:
        if self.packs or tokens.device.type != "cpu" or not len(tokens):
            return tokens, False
        longest = 1 + int((tokens != vocab.PAD).any(0).nonzero().max())
        tokens = tokens[:, :longest].contiguous()
        return tokens, bool(self._valid(tokens, self._bases(tokens)).all())

    @torch.no_grad()
    def initialise_from(self, tokens: Tensor) -> None:
        numbers = tokens.long()
        patches = self._patches(numbers)
        states = self.transformer(self._embed(numbers, patches), patches.valid)
        self.pooling.standardise_outputs(states, patches.valid)
        self.nucleotide_head.weight *= 0.1
        self.prior.weight[: tokens.shape[1]] = log_frequencies(tokens)

    def longest(self, tokens: Tensor) -> int:
        if not self.packs or not len(tokens):
            return tokens.shape[1]
        return min(tokens.shape[1], int((tokens != vocab.PAD).sum(1).max()) + 2 * self.patch)  # one wait for a GPU

    def _bases(self, tokens: Tensor) -> Tensor:
        """tokens [U, L] -> the bases of each patch [U, P - 1, patch]."""
        rows, length = tokens.shape
        patches = -(-(length - 1) // self.patch)
        bases = nn.functional.pad(tokens[:, 1:], (0, patches * self.patch - (length - 1)), value=vocab.PAD)
        return bases.reshape(rows, patches, self.patch)

    def _valid(self, tokens: Tensor, bases: Tensor) -> Tensor:
        """Which positions [U, P] of tokens [U, L], with the bases of their patches, are real."""
        return torch.cat([tokens[:, :1] != vocab.PAD, (bases != vocab.PAD).any(dim=-1)], dim=1)

    def _patches(self, tokens: Tensor, full: bool = False) -> Patches:
        """The patches of tokens [U, L] that the transformer reads; `full` as in `encode`."""
        bases = self._bases(tokens)
        if bases.shape[1] >= self.position.shape[0]:
            found = tokens.shape[1] - 1
            raise ValueError(f"sequences of {found} bases; this encoder takes at most {self.max_bp} (max_bp)")
        if self.packs and len(tokens):
            return self._packed(tokens, bases)
        return Patches(bases, None if full else self._valid(tokens, bases), None)

    def _packed(self, tokens: Tensor, bases: Tensor) -> Patches:
        """The patches of each row from its first to its last one with a base."""
        real = (bases != vocab.PAD).any(dim=-1)
        numbers = torch.arange(1, 1 + real.shape[1], device=tokens.device)
        last = (real * numbers).amax(1)
        first = torch.where(real, numbers, len(numbers)).amin(1) - 1
        count = max(1, int((last - first).max()))  # one wait for a GPU
        at = (first[:, None] + torch.arange(count, device=tokens.device)).clamp_max(real.shape[1] - 1)
        bases = bases.gather(1, at[:, :, None].expand(-1, -1, self.patch))
        valid = self._valid(tokens, bases)
        # Behind the last patch of the gene that one is repeated.
        valid[:, 1:] &= first[:, None] + torch.arange(count, device=tokens.device) < last[:, None]
        return Patches(bases, None if bool(valid.all()) else valid, first)

    def _embed(self, tokens: Tensor, patches: Patches) -> Tensor:
        """tokens [U, L] and their patches -> input states [U, P, D]."""
        bases, first = patches.bases, patches.first
        place = torch.arange(self.patch, device=tokens.device) * vocab.VOCAB_SIZE
        weight = self.base.weight
        # Rows of the table to add, as ones in a matrix: a third of the time of looking them up, and of the memory.
        chosen = weight.new_zeros(*bases.shape[:2], len(weight)).scatter_(2, bases + place, 1.0)
        embedded = torch.cat([self.start(tokens[:, :1]), chosen @ weight], dim=1)
        if first is None:
            return embedded + self.position[: 1 + bases.shape[1]]
        at = (first[:, None] + torch.arange(bases.shape[1], device=tokens.device)).clamp_max(len(self.position) - 2)
        behind = take_rows(self.position, torch.cat([torch.zeros_like(at[:, :1]), 1 + at], dim=1))
        return embedded + behind

    def logits_at(self, encoded: Encoded, at: Tensor) -> Tensor:
        base = (at[:, 1] - 1).clamp_min(0)  # START stands alone at position 0 and is never asked
        patches = encoded.states.shape[1]  # several bases of one patch may be asked for
        patch = base // self.patch if encoded.first is None else base // self.patch - encoded.first[at[:, 0]]
        states = take_rows(encoded.states.flatten(0, 1), at[:, 0] * patches + 1 + patch)
        logits = self.nucleotide_head(states).view(-1, self.patch, vocab.OUTPUT_SIZE)
        return logits[torch.arange(len(at), device=at.device), base % self.patch] + self.prior(at[:, 1])

    def consensus_logits(self) -> Tensor:
        return self.prior.weight[1:]

    def nucleotides(self, encoded: Encoded, length: int) -> Tensor:
        """Encoded ASVs -> logits of every position [U, L, 6]; by the frequencies alone where nothing was read."""
        states, first = encoded.states, encoded.first
        rows, patches = states.shape[0], states.shape[1] - 1
        start = self.nucleotide_head(states[:, :1]).view(rows, self.patch, vocab.OUTPUT_SIZE)[:, :1]
        bases = self.nucleotide_head(states[:, 1:]).view(rows, patches * self.patch, vocab.OUTPUT_SIZE)
        if first is not None:
            whole = bases.new_zeros(rows, (len(self.position) - 1 + patches) * self.patch, vocab.OUTPUT_SIZE)
            at = first[:, None] * self.patch + torch.arange(bases.shape[1], device=bases.device)
            bases = whole.scatter(1, at[:, :, None].expand_as(bases), bases)
        return torch.cat([start, bases], dim=1)[:, :length] + self.prior.weight[:length]


def build_asv_encoder(config: ModelConfig) -> ChunkedEncoder:
    """The encoder that the configuration names; raises ConfigError for columns of the gene with the MLP."""
    if config.asv_encoder == "mlp" and config.positions == "gene":
        raise ConfigError("--asv-encoder mlp has no --positions gene; use --asv-encoder transformer")
    return MLPEncoder(config) if config.asv_encoder == "mlp" else ASVEncoder(config)
