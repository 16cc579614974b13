"""Base class of the ASV encoders: computes `embed` and `predict` in chunks of ASVs of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aam import vocab
from aam.models.asv_memory import ASVMemory
from aam.models.chunks import LIMITS, Chunk, ChunkFunction, Keeping, Plan, Work, compute_in_chunks, count_kept_chunks
from aam.models.devices import limit_product_caches


class Encoded(NamedTuple):
    """`states` [U, P, D] per transformer position and `embeddings` [U, D].

    `first` [U]: number of the patch whose state stands behind that of START; None if it is patch 0 in every row.
    """

    states: Tensor
    embeddings: Tensor
    first: Tensor | None = None


class Cost(NamedTuple):
    """Cost of a row: transformer positions, and approximate number of values that the backward pass needs."""

    positions: int
    numbers: int


class ChunkedEncoder(Keeping):
    """Base class of the ASV encoders: `embed` and `predict` in chunks; subclasses define `encode` and `logits_at`."""

    positions: int
    """Transformer positions of the longest sequence."""
    max_bp: int
    """Bases of the longest sequence."""
    nucleotide_head: nn.Linear
    by_column = False
    """Whether positions are columns of the gene, so that rows begin anywhere."""
    packs = False
    """Whether parts of rows without bases are left out, which needs to wait for a GPU."""
    dropout = 0.0
    memory: ASVMemory | None = None
    """Of a frozen encoder: the embeddings that it has computed."""
    in_turn = False
    """Whether chunks run one after the other even where threads are at hand."""

    def __init__(self) -> None:
        super().__init__()
        limit_product_caches()

    def __setstate__(self, state: dict[str, Any]) -> None:
        limit_product_caches()  # unpickled in a new process, an encoder is not built
        super().__setstate__(state)

    def compile_encoding(self) -> None:
        """Compile `encode` for any number and length of rows; compiled code is already multi-threaded."""
        self.encode, self.in_turn = torch.compile(self.encode, dynamic=True), True  # type: ignore[method-assign]

    def encode(self, tokens: Tensor, full: bool = False) -> Encoded:
        """tokens [U, L] -> states and embeddings; every row holds at least one token.

        `full`: no position is padding, so no mask is needed.
        """
        raise NotImplementedError

    def cost(self, length: int) -> Cost:
        """What a row of so many tokens takes."""
        raise NotImplementedError

    def logits_at(self, encoded: Encoded, at: Tensor) -> Tensor:
        """Nucleotide logits [T, 6] at (row, position) pairs `at` [T, 2]."""
        raise NotImplementedError

    def initialise_from(self, tokens: Tensor) -> None:
        """Start from these ASVs, tokens [U, L]: embeddings spread out, nucleotides at their frequencies."""
        raise NotImplementedError

    def consensus_logits(self) -> Tensor:
        """Nucleotide logits [max_bp, 6] by position alone: log frequencies that the encoder has learned."""
        raise NotImplementedError

    def trimmed(self, tokens: Tensor) -> tuple[Tensor, bool]:
        """tokens [U, L] without columns that hold only padding, and whether no position is padding then.

        On a GPU nothing is trimmed, because the check would have to wait for the device.
        """
        return tokens, False

    def embed(self, tokens: Tensor) -> Tensor:
        """Distinct ASVs, tokens [U, L] -> embeddings [U, D]; those of a frozen encoder are remembered."""
        return self._embed_rows(tokens) if self.memory is None else self.memory.recall(tokens, self._embed_rows)

    def freeze(self) -> None:
        """Learn no more, and remember every embedding from now on."""
        self.requires_grad_(False)
        self.memory = ASVMemory()

    def _embed_rows(self, tokens: Tensor) -> Tensor:
        """As `embed`, computed in chunks of similar length."""
        plan = self.plan(tokens)
        parts = self._in_chunks(self._embed_chunk, [(tokens[rows],) for rows in plan.chunks], plan.kept)
        return torch.cat(parts)[torch.cat(plan.chunks).argsort()]

    def predict(self, tokens: Tensor, at: Tensor) -> Tensor:
        """Logits [T, 6] of the bases hidden in tokens [M, L] at (row, position) pairs `at` [T, 2]."""
        plan = self.plan(tokens)
        if len(plan.chunks) == 1:
            return self._in_chunks(self._predict_chunk, [(tokens, at)], plan.kept)[0]
        picked = [torch.isin(at[:, 0], rows).nonzero()[:, 0] for rows in plan.chunks]
        place = at.new_empty(len(tokens))
        for rows in plan.chunks:
            place[rows] = torch.arange(len(rows), device=at.device)
        here = torch.stack([place[at[:, 0]], at[:, 1]], dim=1)
        chunks = [(tokens[rows], here[some]) for rows, some in zip(plan.chunks, picked, strict=True)]
        return torch.cat(self._in_chunks(self._predict_chunk, chunks, plan.kept))[torch.cat(picked).argsort()]

    def plan(self, tokens: Tensor) -> Plan:
        """Chunks of tokens [U, L], about equal in size; rows of similar length are together, except on a GPU."""
        device, cost = tokens.device, self.cost(self.longest(tokens))
        rows = torch.arange(len(tokens), device=device)
        if device.type == "cpu":
            rows = (tokens != vocab.PAD).sum(1).argsort(stable=True)
        chunks = list(rows.tensor_split(max(1, -(-len(rows) * cost.positions // LIMITS[device.type].positions))))
        sizes = (len(some) * cost.numbers for some in chunks)
        return Plan(chunks, count_kept_chunks(device, sizes, self.most_kept))

    def longest(self, tokens: Tensor) -> int:
        """Tokens of the longest row, at most; `cost` takes it."""
        return tokens.shape[1]

    def _in_chunks(self, run: ChunkFunction, chunks: Sequence[Chunk], kept: int) -> list[Tensor]:
        noisy = self.training and self.dropout > 0
        work = Work.run_as_caller(run, chunks[0][0].device, noisy, self.in_turn)
        return [result for (result,) in compute_in_chunks(work, chunks, list(self.parameters()), kept)]

    def _embed_chunk(self, tokens: Tensor) -> Chunk:
        return (self.encode(*self.trimmed(tokens)).embeddings,)

    def _predict_chunk(self, tokens: Tensor, at: Tensor) -> Chunk:
        return (self.logits_at(self.encode(*self.trimmed(tokens)), at),)


def log_frequencies(tokens: Tensor) -> Tensor:
    """Log frequency [L, 6] of each token at each position of tokens [U, L], with one added to every count.

    PAD is not counted: it is never predicted, and short ASVs must not change the frequencies at later positions.
    """
    seen = torch.stack([(tokens == token).sum(0) for token in range(vocab.OUTPUT_SIZE)], dim=1) + 1.0
    seen[:, vocab.PAD] = 1.0
    return (seen / seen.sum(1, keepdim=True)).log()
