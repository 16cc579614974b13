"""The denominator of the benchmarks: a plain transformer for amplicon data, as such models are commonly written.

    python benchmarks/reference.py        prints its size and costs

Samples are padded to [B, S, L], S the token limit; every occurrence of an ASV is encoded for itself (slots that are
padding alone are left out, which is kind to it); attention is masked, dropout is 0.1 everywhere, every layer is
checkpointed, logits are dense [B, S, L, 6]. 4 layers over nucleotides, 4 over ASVs, 4 on top, width 128, 4 heads. Its
objective: cross-entropy of masked nucleotides plus squared error of pairwise UniFrac, a tanh of Euclidean distance.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aam import vocab
from aam.corpus.dataset import Batch
from aam.models.sample_encoder import log_abundance

DIM, HEADS, LAYERS, FFN, DROPOUT = 128, 4, 4, 512, 0.1
MASK_RATIO = 0.15
DISTANCE_SCALE = 10.0
"""Euclidean distance at which the predicted UniFrac is tanh(1)."""


class Padded(NamedTuple):
    """A batch with nothing shared: tokens and their masked form [B, S, L], abundance [B, S], targets [B, B] if any."""

    tokens: Tensor
    masked: Tensor
    abundance: Tensor
    unifrac: Tensor | None


class ReferenceOutput(NamedTuple):
    """Dense nucleotide logits [B, S, L, 6], predicted UniFrac [B, B], sample embeddings [B, D]."""

    logits: Tensor
    unifrac: Tensor
    samples: Tensor


def pad(batch: Batch, token_limit: int) -> Padded:
    """Write a batch out: a copy of its tokens for every slot, masked slot by slot, up to the token limit."""
    wide = (0, token_limit - batch.index.shape[1])
    valid = F.pad(batch.valid, wide)
    tokens = batch.tokens.long()[F.pad(batch.index, wide)] * valid[..., None]
    bases = (tokens >= vocab.A) & (tokens <= vocab.T)
    hit = bases & (torch.rand(tokens.shape, device=tokens.device) < MASK_RATIO)
    return Padded(tokens, tokens.masked_fill(hit, vocab.MASK), F.pad(batch.abundance, wide), batch.unifrac)


class Layers(nn.Module):
    """Pre-norm transformer over masked rows, [N, L, D] -> [N, L, D]; each layer is computed again going backward."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(DIM, HEADS, FFN, DROPOUT, F.gelu, batch_first=True, norm_first=True)
            for _ in range(LAYERS)
        )

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        for layer in self.layers:
            if torch.is_grad_enabled():
                states = checkpoint(layer, states, src_key_padding_mask=~valid, use_reentrant=False)
            else:
                states = layer(states, src_key_padding_mask=~valid)
        return states


class Pool(nn.Module):
    """One weighted mean of the valid positions, [N, L, D] -> [N, D]."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.norm = nn.Linear(DIM, 1), nn.LayerNorm(DIM)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        weights = self.query(states)[..., 0].masked_fill(~valid, float("-inf")).softmax(-1)
        return self.norm((weights[:, None] @ states)[:, 0])


class Reference(nn.Module):
    """Nucleotide, sample and top transformer with a dense nucleotide head."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab.VOCAB_SIZE, DIM, padding_idx=vocab.PAD)
        self.place = nn.Embedding(positions, DIM)
        self.drop = nn.Dropout(DROPOUT)
        self.nucleotides, self.asvs, self.top = Layers(), Layers(), Layers()
        self.asv_pool, self.sample_pool = Pool(), Pool()
        self.head = nn.Linear(DIM, vocab.OUTPUT_SIZE)
        self.amount = nn.Linear(1, DIM)

    def forward(self, tokens: Tensor, abundance: Tensor) -> ReferenceOutput:
        """tokens [B, S, L], relative abundance [B, S] -> `ReferenceOutput`."""
        valid = tokens != vocab.PAD
        present = valid.any(-1)
        place = self.place(torch.arange(tokens.shape[-1], device=tokens.device))
        states = self.drop(self.token(tokens[present]) + place)
        states = self.nucleotides(states, valid[present])
        logits = states.new_zeros(*tokens.shape, vocab.OUTPUT_SIZE)
        logits[present] = self.head(states)
        slots = states.new_zeros(*present.shape, DIM)
        slots[present] = self.asv_pool(states, valid[present])
        slots = self.drop(slots + self.amount(log_abundance(abundance)[..., None] / 5.0))
        samples = self.sample_pool(self.top(self.asvs(slots, present), present), present)
        return ReferenceOutput(logits, self.unifrac(samples), samples)

    def unifrac(self, samples: Tensor) -> Tensor:
        """Predicted UniFrac [B, B] of embedded samples [B, D]."""
        apart = (samples[:, None] - samples[None]).square().sum(-1).clamp_min(1e-12).sqrt()
        return torch.tanh(apart / DISTANCE_SCALE)


def loss_of(output: ReferenceOutput, batch: Padded) -> Tensor:
    """Cross-entropy at the masked positions, plus mean squared error of the pairs."""
    assert batch.unifrac is not None  # a run has a tree
    hit = batch.masked != batch.tokens
    nucleotides = F.cross_entropy(output.logits[hit], batch.tokens[hit])
    left, right = torch.triu_indices(len(batch.unifrac), len(batch.unifrac), 1)
    return nucleotides + F.mse_loss(output.unifrac[left, right], batch.unifrac[left, right])


class ReferenceLearner:
    """A fresh reference and its optimiser; `step` learns from one batch."""

    def __init__(self, positions: int, token_limit: int, rate: float = 1e-4, seed: int = 0):
        torch.manual_seed(seed)
        self.model, self.token_limit = Reference(positions), token_limit
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.01)

    def step(self, batch: Batch) -> None:
        padded = pad(batch, self.token_limit)
        self.model.train()
        self.optimizer.zero_grad()
        loss_of(self.model(padded.masked, padded.abundance), padded).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


if __name__ == "__main__":
    model = Reference(151)
    print(f"reference: {sum(p.numel() for p in model.parameters()):,} parameters, width {DIM}, 3 x {LAYERS} layers")
