"""Small learning tasks for the preflight tests, all in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aam.health.groups import parameter_groups
from aam.health.trial import Head, Trial

CLASSES, LENGTH, TOKENS = 4, 6, 9


class Batch(NamedTuple):
    """Sequences with padding; the class is that of the first token, the number is the mean of all tokens."""

    tokens: Tensor  # [B, S], 1 .. 8, padding 0
    valid: Tensor  # [B, S] bool
    label: Tensor  # [B]
    number: Tensor  # [B]


def draw(size: int, seed: int) -> Batch:
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, TOKENS, (size, LENGTH), generator=random)
    valid = torch.arange(LENGTH) < torch.randint(2, LENGTH + 1, (size, 1), generator=random)
    tokens = tokens * valid
    return Batch(tokens, valid, (tokens[:, 0] - 1) % CLASSES, tokens.sum(1) / valid.sum(1) / TOKENS)


class Encoder(nn.Module):
    """Tokens to class logits [B, 4] and a number [B], by attention over the valid positions."""

    def __init__(self, dim=32, dropout=0.0, zero_init=False):
        super().__init__()
        self.embed, self.place = nn.Embedding(TOKENS, dim), nn.Parameter(torch.randn(LENGTH, dim) * 0.5)
        self.norm, self.drop = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.last, self.classes, self.number = nn.LayerNorm(dim), nn.Linear(dim, CLASSES), nn.Linear(dim, 1)
        if zero_init:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.mlp[2].weight)

    def forward(self, batch: Batch):
        valid = batch.valid
        x = self.embed(batch.tokens) + self.place
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + self.drop(self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, :])))
        x = x + self.drop(self.mlp(x))
        pooled = self.last((x * valid[..., None]).sum(1) / valid.sum(1, keepdim=True))
        return {"classes": self.classes(pooled), "number": self.number(pooled)[:, 0]}


class Convolution(nn.Module):
    """The same task by convolutions with batch norm."""

    def __init__(self, dim=32):
        super().__init__()
        self.embed = nn.Embedding(TOKENS, dim)
        self.conv, self.norm = nn.Conv1d(dim, dim, 1), nn.BatchNorm1d(dim)
        self.classes, self.number = nn.Linear(dim * LENGTH, CLASSES), nn.Linear(dim * LENGTH, 1)

    def forward(self, batch: Batch):
        x = torch.relu(self.norm(self.conv(self.embed(batch.tokens).mT))) * batch.valid[:, None]
        return {"classes": self.classes(x.flatten(1)), "number": self.number(x.flatten(1))[:, 0]}


class Again(torch.autograd.Function):
    """A block without a graph, run again with one going backward."""

    @staticmethod
    def forward(ctx, block: nn.Module, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.block = block
        ctx.save_for_backward(x)
        return block(x)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            out = ctx.block(x)
        return None, *torch.autograd.grad(out, [x, *ctx.block.parameters()], gradient)


class RunAgain(nn.Module):
    """A block that keeps no activations."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return Again.apply(self.block, x, *self.block.parameters())


def thrifty(model: Encoder) -> Encoder:
    model.mlp = RunAgain(model.mlp)
    return model


def score(output, batch: Batch) -> Tensor:
    return F.cross_entropy(output["classes"], batch.label) + F.mse_loss(output["number"], batch.number)


@dataclass
class Recipe:
    """How to build a trial; a fault changes one of these."""

    build: Callable[[], nn.Module] = Encoder
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = lambda model: torch.optim.AdamW(
        model.parameters(), lr=3e-3
    )
    score: Callable = score
    step: Callable | None = None
    batches: Callable[[], list[Batch]] = lambda: [draw(16, seed) for seed in range(8)]
    change: Callable[[Trial], None] = lambda trial: None
    accumulate: int = 1
    clip: float | None = 1.0

    def make(self) -> Trial:
        torch.manual_seed(0)
        model = self.build()
        optimizer = self.optimizer(model)
        trial = Trial(
            model=model,
            optimizer=optimizer,
            batches=self.batches(),
            predict=lambda batch: model(batch),
            score=lambda output, batch: self.score(output, batch),
            step=lambda batch: (self.step or plain_step)(self, trial, batch),
            few=draw(4, 100),
            held_out=[draw(64, 200)],
            heads=lambda output, batch: {"classes": Head(output["classes"], batch.label)},
            perfect=lambda batch: {
                # from the tokens again, on another path than the labels of `draw`
                "classes": 20 * F.one_hot(batch.tokens[:, 0].sub(1).remainder(CLASSES), CLASSES).float(),
                "number": (batch.tokens.float() * batch.valid).sum(1) / batch.valid.sum(1) / TOKENS,
            },
            shuffled=lambda batch: batch._replace(label=batch.label.roll(5), number=batch.number.roll(5)),
            junk=lambda batch: batch._replace(tokens=torch.where(batch.valid, batch.tokens, 7)),
        )
        self.change(trial)
        return trial


def plain_step(recipe: Recipe, trial: Trial, batch: Batch) -> None:
    trial.optimizer.zero_grad()
    for part in range(recipe.accumulate):
        rows = slice(part, None, recipe.accumulate)
        piece = Batch(*(field[rows] for field in batch))
        (trial.score(trial.predict(piece), piece) / recipe.accumulate).backward()
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(trial.model.parameters(), recipe.clip)
    trial.optimizer.step()


GOOD = {
    "plain": Recipe(),
    "dropout": Recipe(build=lambda: Encoder(dropout=0.1)),
    "zero-initialised branches": Recipe(build=lambda: Encoder(zero_init=True)),
    "batch norm": Recipe(build=Convolution),
    "stochastic gradient descent": Recipe(
        optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9), clip=None
    ),
    "decay on matrices only": Recipe(optimizer=lambda m: torch.optim.AdamW(parameter_groups(m, 0.1), lr=3e-3)),
    "accumulated gradients": Recipe(accumulate=2),
    "frozen on purpose": Recipe(
        build=lambda: freeze(Encoder(), "place"), change=lambda t: setattr(t, "frozen", frozenset({"place"}))
    ),
    "warm-up and decay": Recipe(
        change=lambda t: setattr(t, "rates", [3e-3 * min(1, (i + 1) / 20) for i in range(400)])
    ),
    "small batches, wide layers": Recipe(
        build=lambda: Encoder(dim=64), batches=lambda: [draw(8, seed) for seed in range(16)]
    ),
    "backward asks for gradients itself": Recipe(build=lambda: thrifty(Encoder())),
}  # fmt: skip


def freeze(model: nn.Module, *names: str) -> nn.Module:
    for name, parameter in model.named_parameters():
        if name.startswith(names):
            parameter.requires_grad_(False)
    return model
