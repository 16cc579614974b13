"""ASV encoder: nucleotide tokens of single ASVs to one embedding each, and back to nucleotides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from aam import vocab
from aam.config import ModelConfig
from aam.models.attention_pooling import AttentionPooling, standardise
from aam.models.chunks import LIMITS, Chunk, Plan, Run, Work, affordable, in_chunks
from aam.models.layers import Transformer


class Encoded(NamedTuple):
    """`states` [U, P, D] per transformer position and `embeddings` [U, D]."""

    states: Tensor
    embeddings: Tensor


class Cost(NamedTuple):
    """Transformer positions of a row, and numbers of it that the backward pass needs, about."""

    positions: int
    numbers: int


class ChunkedEncoder(nn.Module):
    """What the encoders of distinct ASVs share: chunks and the contract of `embed` and `predict`."""

    positions: int
    """Transformer positions of the longest sequence."""
    nucleotide_head: nn.Linear
    dropout = 0.0
    in_turn = False
    """Whether chunks run one after the other even where threads are at hand."""

    def compile_encoding(self) -> None:
        """Compile `encode`, for any number and length of rows; compiled code uses several threads by itself."""
        self.encode, self.in_turn = torch.compile(self.encode, dynamic=True), True  # type: ignore[method-assign]

    def encode(self, tokens: Tensor, full: bool = False) -> Encoded:
        """tokens [U, L] -> states and embeddings; every row holds at least one token.

        `full` promises that no position is padding, which saves the mask.
        """
        raise NotImplementedError

    def cost(self, length: int) -> Cost:
        """What a row of so many tokens takes."""
        raise NotImplementedError

    def logits_at(self, encoded: Encoded, at: Tensor) -> Tensor:
        """Nucleotide logits [T, 6] at (row, position) pairs `at` [T, 2]."""
        raise NotImplementedError

    def calibrate(self, tokens: Tensor) -> None:
        """Start from these ASVs, tokens [U, L]: embeddings spread out, nucleotides at their frequencies."""
        raise NotImplementedError

    def trimmed(self, tokens: Tensor) -> tuple[Tensor, bool]:
        """tokens [U, L] without columns that hold only padding, and whether no position is padding then.

        On a GPU, which would have to be waited for, nothing is looked at.
        """
        return tokens, False

    def embed(self, tokens: Tensor) -> Tensor:
        """Distinct ASVs, tokens [U, L] -> embeddings [U, D], in chunks of like length."""
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
        """Chunks of tokens [U, L], about equal in size; rows of like length are together, except on a GPU."""
        device, cost = tokens.device, self.cost(tokens.shape[1])
        rows = torch.arange(len(tokens), device=device)
        if device.type == "cpu":
            rows = (tokens != vocab.PAD).sum(1).argsort(stable=True)
        chunks = list(rows.tensor_split(max(1, -(-len(rows) * cost.positions // LIMITS[device.type].positions))))
        return Plan(chunks, affordable(device, (len(some) * cost.numbers for some in chunks)))

    def _in_chunks(self, run: Run, chunks: Sequence[Chunk], kept: int) -> list[Tensor]:
        noisy = self.training and self.dropout > 0
        work = Work.here(run, chunks[0][0].device, noisy, self.in_turn)
        return [result for (result,) in in_chunks(work, chunks, list(self.parameters()), kept)]

    def _embed_chunk(self, tokens: Tensor) -> Chunk:
        return (self.encode(*self.trimmed(tokens)).embeddings,)

    def _predict_chunk(self, tokens: Tensor, at: Tensor) -> Chunk:
        return (self.logits_at(self.encode(*self.trimmed(tokens)), at),)


class ASVEncoder(ChunkedEncoder):
    """Transformer over the nucleotides of one ASV, with attention pooling and a nucleotide head.

    `patch` neighbouring bases share a transformer position, as pixels do in image transformers: each base adds the row
    that belongs to it and to its place in the patch. The head predicts every base of a patch separately, as a change
    to what is usual at its position.
    """

    def __init__(self, config: ModelConfig | None = None):
        super().__init__()
        config = config or ModelConfig()
        self.patch, self.max_bp, self.dim = config.patch, config.max_bp, config.dim
        patches = -(-config.max_bp // config.patch)
        self.positions = 1 + patches
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
        states, packed = self.encode(tokens[present])
        embeddings = packed.new_zeros(*present.shape, self.dim)
        embeddings[present] = packed
        if not return_nucleotides:
            return embeddings
        logits = self.nucleotides(states, tokens.shape[-1])
        nucleotides = logits.new_zeros(*tokens.shape, vocab.OUTPUT_SIZE)
        nucleotides[present] = logits
        return embeddings, nucleotides

    def encode(self, tokens: Tensor, full: bool = False) -> Encoded:
        valid = None if full else self._valid(tokens)
        states = self.transformer(self._embed(tokens.long()), valid)
        return Encoded(states, self.pooling(states, valid))

    def cost(self, length: int) -> Cost:
        positions = 1 + -(-(length - 1) // self.patch)
        return Cost(positions, self.transformer.numbers(positions))

    def trimmed(self, tokens: Tensor) -> tuple[Tensor, bool]:
        if tokens.device.type != "cpu" or not len(tokens):
            return tokens, False
        longest = 1 + int((tokens != vocab.PAD).any(0).nonzero().max())
        tokens = tokens[:, :longest].contiguous()
        return tokens, bool(self._valid(tokens).all())

    @torch.no_grad()
    def calibrate(self, tokens: Tensor) -> None:
        valid = self._valid(tokens)
        self.pooling.calibrate(self.transformer(self._embed(tokens.long()), valid), valid)
        self.nucleotide_head.weight *= 0.1
        self.prior.weight[: tokens.shape[1]] = log_frequencies(tokens)

    def _bases(self, tokens: Tensor) -> Tensor:
        """tokens [U, L] -> the bases of each patch [U, P - 1, patch]."""
        rows, length = tokens.shape
        patches = -(-(length - 1) // self.patch)
        bases = nn.functional.pad(tokens[:, 1:], (0, patches * self.patch - (length - 1)), value=vocab.PAD)
        return bases.reshape(rows, patches, self.patch)

    def _valid(self, tokens: Tensor) -> Tensor:
        """Which positions [U, P] of tokens [U, L] are real."""
        return torch.cat([tokens[:, :1] != vocab.PAD, (self._bases(tokens) != vocab.PAD).any(dim=-1)], dim=1)

    def _embed(self, tokens: Tensor) -> Tensor:
        """tokens [U, L] -> input states [U, P, D]."""
        bases = self._bases(tokens)
        if bases.shape[1] >= self.position.shape[0]:
            found = tokens.shape[1] - 1
            raise ValueError(f"sequences of {found} bases; this encoder takes at most {self.max_bp} (max_bp)")
        place = torch.arange(self.patch, device=tokens.device) * vocab.VOCAB_SIZE
        embedded = self.base(bases + place).sum(dim=2)
        return torch.cat([self.start(tokens[:, :1]), embedded], dim=1) + self.position[: 1 + bases.shape[1]]

    def logits_at(self, encoded: Encoded, at: Tensor) -> Tensor:
        base = (at[:, 1] - 1).clamp_min(0)  # START stands alone at position 0 and is never asked
        states = encoded.states[at[:, 0], 1 + base // self.patch]
        logits = self.nucleotide_head(states).view(-1, self.patch, vocab.OUTPUT_SIZE)
        return logits[torch.arange(len(at), device=at.device), base % self.patch] + self.prior(at[:, 1])

    def nucleotides(self, states: Tensor, length: int) -> Tensor:
        """states [U, P, D] -> logits of every position [U, L, 6]."""
        rows, patches = states.shape[0], states.shape[1] - 1
        start = self.nucleotide_head(states[:, :1]).view(rows, self.patch, vocab.OUTPUT_SIZE)[:, :1]
        bases = self.nucleotide_head(states[:, 1:]).view(rows, patches * self.patch, vocab.OUTPUT_SIZE)
        return torch.cat([start, bases], dim=1)[:, :length] + self.prior.weight[:length]


class MLPEncoder(ChunkedEncoder):
    """One-hot MLP over aligned positions: the fast baseline that the transformer has to beat."""

    HIDDEN = 256

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.max_bp, self.positions = config.max_bp, 1
        self.layers = nn.Sequential(
            nn.Linear(config.max_bp * vocab.VOCAB_SIZE, self.HIDDEN),
            nn.GELU(),
            nn.Linear(self.HIDDEN, self.HIDDEN),
            nn.GELU(),
            nn.Linear(self.HIDDEN, config.dim),
        )
        self.nucleotide_head = nn.Linear(config.dim, config.max_bp * vocab.OUTPUT_SIZE)

    @torch.no_grad()
    def calibrate(self, tokens: Tensor) -> None:
        standardise(cast(nn.Linear, self.layers[-1]), self.encode(tokens).embeddings)
        self.nucleotide_head.weight *= 0.1
        usual = log_frequencies(tokens[:, 1:]).flatten()
        self.nucleotide_head.bias[: len(usual)] = usual

    def encode(self, tokens: Tensor, full: bool = False) -> Encoded:
        bases = nn.functional.pad(tokens[:, 1:].long(), (0, self.max_bp - (tokens.shape[1] - 1)), value=vocab.PAD)
        onehot = nn.functional.one_hot(bases, vocab.VOCAB_SIZE).to(self.nucleotide_head.weight.dtype)
        onehot = onehot * (bases != vocab.PAD)[..., None]
        embeddings = self.layers(onehot.flatten(1))
        return Encoded(embeddings[:, None], embeddings)

    def cost(self, length: int) -> Cost:
        return Cost(1, 2 * self.max_bp * vocab.VOCAB_SIZE + 4 * self.HIDDEN)

    def logits_at(self, encoded: Encoded, at: Tensor) -> Tensor:
        logits = self.nucleotide_head(encoded.embeddings).view(-1, self.max_bp, vocab.OUTPUT_SIZE)
        return logits[at[:, 0], (at[:, 1] - 1).clamp_min(0)]


def log_frequencies(tokens: Tensor) -> Tensor:
    """Log frequency [L, 6] of each token at each position of tokens [U, L], every token counted once more than seen.

    PAD counts as never seen: it is not asked for, and short ASVs must not speak for the ends of longer ones.
    """
    seen = torch.stack([(tokens == token).sum(0) for token in range(vocab.OUTPUT_SIZE)], dim=1) + 1.0
    seen[:, vocab.PAD] = 1.0
    return (seen / seen.sum(1, keepdim=True)).log()


def build_asv_encoder(config: ModelConfig) -> ChunkedEncoder:
    """The encoder that the configuration names."""
    return MLPEncoder(config) if config.asv_encoder == "mlp" else ASVEncoder(config)
