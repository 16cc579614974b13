"""What the tracer must know about an operation of torch before it can judge its outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch._ops import OpOverload

# Memory that holds whatever was there before: its content means nothing until something is written to it.
UNINITIALISED = frozenset(
    {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", "resize_", "set_"}
)
# In-place operations that do not read what they replace.
OVERWRITES = frozenset(
    {"copy_", "fill_", "zero_", "normal_", "uniform_", "bernoulli_", "random_", "exponential_", "log_normal_",
     "cauchy_", "geometric_", "_foreach_copy_", "_foreach_zero_"}
)  # fmt: skip
# Operations that write their running statistics (fourth and fifth argument) without saying so in their schema.
KEEPS_STATISTICS = frozenset({"native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_impl_index"})
# Operations that write a number the author spelt out; an infinity among them is meant, e.g. in an attention mask.
FILLS = frozenset(
    {"fill", "fill_", "full", "full_like", "new_full", "masked_fill", "masked_fill_", "where", "scalar_tensor",
     "constant_pad_nd", "index_fill", "index_fill_", "lift_fresh"}
)  # fmt: skip
# Operations for which a given -inf is an ordinary input: a masked position.
TAKES_MASKS = frozenset(
    {"_softmax", "_log_softmax", "_safe_softmax", "softmax", "logsumexp", "_scaled_dot_product_flash_attention_for_cpu",
     "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
     "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_attention_math",
     "_scaled_dot_product_fused_attention_overrideable", "_transformer_encoder_layer_fwd"}
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One overload, e.g. `aten.masked_fill_.Scalar`: its name and how it treats its arguments."""

    name: str  # masked_fill_
    kernel: str  # aten.masked_fill_.Scalar
    view: bool  # outputs share memory with an input and hold nothing new
    uninitialised: bool
    fills: bool
    written: tuple[int | str, ...]  # positions and names of arguments written in place
    reads_written: bool  # whether the old content of those matters

    @staticmethod
    def of(func: OpOverload) -> Operation:
        """Read the schema of an overload."""
        name = func._schema.name.split("::")[-1]
        arguments = func._schema.arguments
        written = tuple(
            argument.name if argument.kwarg_only else position
            for position, argument in enumerate(arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        )
        if name in KEEPS_STATISTICS:
            written = (3, 4)
        out_variant = any(isinstance(argument, str) for argument in written)
        return Operation(
            name=name,
            kernel=str(func),
            view=func.is_view,
            uninitialised=name in UNINITIALISED,
            fills=name in FILLS,
            written=written,
            reads_written=bool(written) and not out_variant and name not in OVERWRITES,
        )

    def written_tensors(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """The tensors this call writes in place."""
        found: list[Tensor] = []
        for key in self.written:
            value = kwargs.get(key) if isinstance(key, str) else (args[key] if key < len(args) else None)
            found += (
                [value] if isinstance(value, Tensor) else [item for item in value or () if isinstance(item, Tensor)]
            )
        return found

    def spelt_out(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """True where this call fills in an infinity or NaN that stands in the code as a number."""
        return self.fills and any(
            isinstance(value, float) and not math.isfinite(value) for value in (*args, *kwargs.values())
        )
