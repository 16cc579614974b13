"""Small learning tasks for the preflight tests: those that are in order, and ways to break each silently."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
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


class Patched(Encoder):
    """The encoder with one line of its forward pass replaced."""

    def __init__(self, fault: str):
        super().__init__()
        self.fault = fault

    def forward(self, batch: Batch):
        if self.fault == "mask inverted":
            shown = ~batch.valid
            shown[:, -1] |= ~shown.any(1)  # a full sequence would have no key
            return super().forward(batch._replace(valid=shown))
        if self.fault == "mixed over the batch":
            out = super().forward(batch)
            return {name: value.mean(0, keepdim=True).expand_as(value) for name, value in out.items()}
        if self.fault == "hidden detached":
            handle = self.last.register_forward_pre_hook(lambda module, args: (args[0].detach(),))
            out = super().forward(batch)
            handle.remove()
            return out
        if self.fault == "block unused":
            kept = self.mlp
            self.mlp = nn.Sequential(nn.Identity())
            out = super().forward(batch)
            self.mlp = kept
            return out
        if self.fault == "no mask":
            return super().forward(batch._replace(valid=torch.ones_like(batch.valid)))
        return super().forward(batch)


def steps(change: Callable) -> Recipe:
    return Recipe(step=change)


def no_backward(recipe, trial, batch):
    trial.optimizer.zero_grad()
    trial.score(trial.predict(batch), batch)
    trial.optimizer.step()


def no_update(recipe, trial, batch):
    trial.optimizer.zero_grad()
    trial.score(trial.predict(batch), batch).backward()


def zeroed_after_backward(recipe, trial, batch):
    trial.score(trial.predict(batch), batch).backward()
    trial.optimizer.zero_grad(set_to_none=False)
    trial.optimizer.step()


def never_zeroed(recipe, trial, batch):
    trial.score(trial.predict(batch), batch).backward()
    nn.utils.clip_grad_norm_(trial.model.parameters(), 1.0)
    trial.optimizer.step()


def evaluation_mode(recipe, trial, batch):
    trial.model.eval()
    plain_step(recipe, trial, batch)


def ascent(recipe, trial, batch):
    trial.optimizer.zero_grad()
    (-trial.score(trial.predict(batch), batch)).backward()
    trial.optimizer.step()


def clipped_to_nothing(recipe, trial, batch):
    plain_step(replace(recipe, clip=0.0), trial, batch)


def random_targets(recipe, trial, batch):
    order = torch.randperm(len(batch.label))
    plain_step(recipe, trial, batch._replace(label=batch.label[order], number=batch.number[order]))


def detached_loss(output, batch):
    return score(output, batch).detach().requires_grad_()


def dealt(size: int, seed: int) -> Batch:
    batch = draw(size, seed)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed + 1))
    return batch._replace(label=batch.label[order], number=batch.number[order])


def ignored(size: int, seed: int) -> Batch:
    return draw(size, seed)._replace(label=torch.full((size,), -100))


def off_by_one(size: int, seed: int) -> Batch:
    batch = draw(size, seed)
    return batch._replace(label=(batch.label + 1) % CLASSES)


def held_out_too(make_batch) -> Callable[[Trial], None]:
    """The fault is in the data set, so it is in the held-out samples as well."""

    def change(trial: Trial) -> None:
        trial.held_out = [make_batch(64, 200)]
        trial.few = make_batch(4, 100)

    return change


def data(make_batch) -> Recipe:
    return Recipe(batches=lambda: [make_batch(16, seed) for seed in range(8)], change=held_out_too(make_batch))


def dead(model: Encoder) -> Encoder:
    nn.init.constant_(model.mlp[0].bias, -100.0)
    return model


FAULTS = {
    "no backward": steps(no_backward),
    "no step of the optimiser": steps(no_update),
    "learning rate 0": Recipe(optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=0.0)),
    "learning rates of the run too small": Recipe(
        optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=6e-9),
        change=lambda t: setattr(t, "rates", [6e-9] * 1000),
    ),
    "loss detached": Recipe(score=detached_loss),
    "block frozen": Recipe(build=lambda: freeze(Encoder(), "qkv", "out")),
    "optimiser holds a copy": Recipe(optimizer=lambda m: torch.optim.AdamW(copy.deepcopy(m).parameters(), lr=3e-3)),
    "optimiser without the head": Recipe(optimizer=lambda m: torch.optim.AdamW(list(m.parameters())[:-4], lr=3e-3)),
    "all targets ignored": data(ignored),
    "mask inverted": Recipe(build=lambda: Patched("mask inverted")),
    "mask forgotten": Recipe(build=lambda: Patched("no mask")),
    "targets shuffled in the data": data(dealt),
    "targets shuffled at every step": steps(random_targets),
    "labels off by one": data(off_by_one),
    "evaluation mode left on": steps(evaluation_mode),
    "double softmax": Recipe(build=lambda: Doubled()),
    "gradients zeroed after backward": steps(zeroed_after_backward),
    "gradients never zeroed": steps(never_zeroed),
    "gradient ascent": steps(ascent),
    "hidden states detached": Recipe(build=lambda: Patched("hidden detached")),
    "block unused": Recipe(build=lambda: Patched("block unused")),
    "mean over the batch": Recipe(build=lambda: Patched("mixed over the batch")),
    "same batch again and again": Recipe(batches=lambda: [draw(16, 0)] * 8),
    "clipped to nothing": steps(clipped_to_nothing),
    "dead units": Recipe(build=lambda: dead(Encoder())),
    "half precision swallows the update": Recipe(
        build=lambda: Encoder().bfloat16(), optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1e-5)
    ),
}


class Doubled(Encoder):
    """Softmax inside the model, and again inside the loss."""

    def forward(self, batch: Batch):
        out = super().forward(batch)
        return {**out, "classes": out["classes"].softmax(-1)}
