"""Whether a model of some configuration can be: a lower bound of its memory, before anything is allocated.

Every number among the options has bounds of its own, in its field (`aam.config.fields.option`); here is what numbers
that are possible alone come to together. `aam.config.convert` calls `check_sizes` for every configuration of a whole
run, given as options or read back from a checkpoint or manifest.
"""

from __future__ import annotations

import bisect
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aam.config.fields import option_flag
from aam.config.finetune import FinetuneConfig, RunnableConfig, is_clades
from aam.config.pretrain import ModelConfig, OptimConfig
from aam.errors import ConfigError

TOKENS, BASES, MLP_WIDTH = 7, 6, 256
"""Tokens that are read, those that are predicted, and the width of the MLP, as in `aam.models`."""
TRAINED, STORED = 16, 4
"""Bytes of a number of the model: in training weight, gradient and two moments, otherwise the weight alone."""
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
CGROUP_FILES = {"": "memory.max", "memory": "memory.limit_in_bytes"}
"""Where a cgroup has its limit of memory, by the controllers of its line in `OWN_CGROUPS`: versions 2 and 1."""
SIZES = {
    "batch_size": OptimConfig.batch_size,
    **{
        name: getattr(ModelConfig, name) for name in ("dim", "asv_layers", "sample_layers", "ffn_ratio", "pool_queries")
    },
    **{name: getattr(ModelConfig, name) for name in ("patch", "branches", "max_bp")},
    "mean_features": 256,
}
"""Options that a refusal may name, and usual values: the one named is that furthest above its own."""


def check_sizes(config: RunnableConfig, stored: bool = False, memory: int | None = None) -> None:
    """Raise ConfigError, naming an option and what fits, for a model that is larger than the memory of this machine.

    `memory`: its bytes, if they are known. `stored`: of a run that is there already, whose weights alone have to fit.
    Heads must divide the width.
    """
    if is_clades(config):
        return
    model, memory = config.model, memory or machine_memory()
    if model.dim % model.heads:
        raise ConfigError(f"--dim {model.dim} is not a multiple of --heads {model.heads}; change one of them")
    if (needed := config_bytes(config, stored)) <= memory:
        return
    found = {name: getattr(part_of(config, name), name) for name in SIZES}
    names = sorted(SIZES, key=lambda name: found[name] / SIZES[name], reverse=True)
    fitting = {name: largest_fitting(config, name, partial(fits_into, stored=stored, memory=memory)) for name in names}
    name = next((name for name in names if fitting[name]), names[0])
    advice = f"at most {fitting[name]} fits" if fitting[name] else "lower it, and the other sizes"
    raise ConfigError(
        f"{option_flag(name)} is {found[name]}: a model of {model_parameters(model):,} parameters takes at least "
        f"{needed / 2**30:,.0f} GB, this machine has {memory / 2**30:,.0f}; {advice}"
    )


def part_of(config: RunnableConfig, name: str) -> Any:
    """The part of a configuration that has an option among `SIZES`."""
    return config.optim if name == "batch_size" else config.model


def largest_fitting(config: RunnableConfig, name: str, fits: Callable[[RunnableConfig], bool]) -> int:
    """The largest value of one of the `SIZES` with which the rest `fits`; 0 if none does."""
    part, step = part_of(config, name), config.model.heads if name == "dim" else 1
    field = "optim" if name == "batch_size" else "model"

    def too_large(count: int) -> bool:
        return not fits(replace(config, **{field: replace(part, **{name: count * step})}))

    return step * bisect.bisect_left(range(1, getattr(part, name) // step + 1), True, key=too_large)


def fits_into(config: RunnableConfig, stored: bool, memory: int) -> bool:
    """Whether the least that these settings need is within `memory` bytes."""
    return config_bytes(config, stored) <= memory


def config_bytes(config: RunnableConfig, stored: bool) -> int:
    """The least bytes that a run with these settings needs: its numbers, and in training what a batch has of pairs."""
    model, batch, numbers = config.model, config.optim.batch_size, model_parameters(config.model)
    if isinstance(config, FinetuneConfig):
        numbers += config.head.head_members * config.head.head_dim * (5 * model.dim + config.schema.identities)
        return (STORED if stored else TRAINED) * numbers
    return STORED * numbers if stored else TRAINED * numbers + 4 * batch * (4 * batch + 2 * model.branches)


def model_parameters(model: ModelConfig) -> int:
    """Numbers that a model of this size learns, but for some thousands."""
    dim, square = model.dim, model.dim**2
    block = (4 + 2 * model.ffn_ratio) * square
    if model.asv_encoder == "mlp":
        asvs = model.max_bp * (TOKENS * MLP_WIDTH + BASES * dim) + MLP_WIDTH * (MLP_WIDTH + dim)
    else:
        positions = model.max_bp // model.patch + 2
        asvs = model.asv_layers * block + positions * dim + model.patch * (TOKENS + BASES) * dim
        asvs += model.pool_queries * square + BASES * model.max_bp
    samples = model.sample_layers * block + (1 + model.pool_queries) * square + 2 * model.mean_features * dim
    return asvs + samples + dim * model.branches + 5 * square


def machine_memory(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Bytes of memory that this process may have: the machine's, or those of `ulimit -v` or a cgroup if they are fewer.

    `cgroups`: where they are mounted; `own`: the file that names those of this process.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *([] if limit == resource.RLIM_INFINITY else [limit]), *cgroup_limits(cgroups, own)])


def cgroup_limits(cgroups: Path, own: Path) -> list[int]:
    """The limits of memory in bytes, of version 2 or 1, of the cgroups of a process and of those that hold them."""
    limits: list[int] = []
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in CGROUP_FILES:
                continue
            root, name = cgroups / controllers, CGROUP_FILES[controllers]
            folder = root / path.lstrip("/")
            for group in (folder, *folder.parents):
                with suppress(OSError, ValueError):  # none is here; or it is "max"
                    limits.append(int((group / name).read_text(encoding="utf-8")))
                if group == root:
                    break
    return limits
