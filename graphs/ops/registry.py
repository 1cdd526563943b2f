"""How an operator is declared: once, for eager calls, for autograd and for ``torch.compile``.

Two doors lead to the same kernel. A compiler, and anything that traces, takes ``torch.ops.graftable.<name>``, an
operator of ``torch.library`` with a fake kernel and an autograd formula. An eager call takes an ``autograd.Function``,
which costs a third of the dispatch: on the small graphs of which most batches are made, that is most of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .adjacency import Adjacency
from .backends import backend_for, is_tiny

__all__ = ["Operator"]

PATTERN = "Tensor rowptr, Tensor col, Tensor row, Tensor rowptr_t, Tensor col_t, Tensor slot_t"
NUM_PATTERN = 6

library = torch.library.Library("graftable", "FRAGMENT")


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator over a pattern; calling it computes it.

    Attributes:
        name: Of the operator in ``torch.ops.graftable``, and of the function that each backend has for it.
        arguments: The schema of what follows the pattern.
        returns: The schema of the result.
        fake: ``(adjacency, *inputs)`` to outputs of the right shape, type and device, uncomputed.
        save: ``(context, inputs, outputs)``; keeps what the formula needs.
        backward: ``(context, *gradients)`` to one gradient, or None, for each input; made of operators, so that it
            compiles, and can be differentiated in turn where they can. None: the operator has no derivative.
        plain: ``(adjacency, *inputs)`` in torch's own differentiable calls, for tiny graphs on the CPU: there, to
            record a function of Python's takes longer than the work.
        autocast: What autocast makes of inputs of 32 bits and fewer: ``low`` its own type, as for products of
            matrices, whose sums the kernels keep in float32; ``float32`` as for a softmax; None leaves them.
    """

    name: str
    arguments: str
    returns: str
    fake: Callable[..., Any]
    save: Callable[..., None] | None = None
    backward: Callable[..., tuple[Any, ...]] | None = None
    plain: Callable[..., Tensor] | None = None
    autocast: Literal["low", "float32"] | None = None

    def __post_init__(self) -> None:
        library.define(f"{self.name}({PATTERN}, {self.arguments}) -> {self.returns}")
        for key in ("CPU", "CUDA"):
            library.impl(self.name, self._compute_flat, key)
        qualified = f"graftable::{self.name}"
        torch.library.register_fake(qualified, self._fake_flat, lib=library)
        torch.library.register_autograd(qualified, self._backward_flat, setup_context=self._save_flat, lib=library)

    def __call__(self, adjacency: Adjacency, *inputs: Any) -> Any:
        """Compute, with a gradient where one is wanted."""
        if torch._C._is_any_autocast_enabled() and self.autocast is not None:
            inputs = self._autocast(adjacency, inputs)
        if torch.compiler.is_compiling() or type(adjacency.col) is not Tensor:
            return getattr(torch.ops.graftable, self.name).default(*adjacency.pattern, *inputs)
        if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
            self._must_be_plain(inputs)
        if torch.is_grad_enabled():
            for each in inputs:
                if isinstance(each, Tensor) and each.requires_grad:
                    if self.plain is not None and is_tiny(adjacency.num_edges, each):
                        return self.plain(adjacency, *inputs)
                    return _record(self, adjacency, *inputs)
        return self.compute(adjacency, *inputs)

    def _must_be_plain(self, inputs: tuple[Any, ...]) -> None:
        """A kernel reads memory: it would pass over a tangent in silence, and a batch of vmap has no memory to read.

        Raises:
            NotImplementedError: If an input is under a transform of ``torch.func``, or has a tangent.
        """
        for each in inputs:
            if isinstance(each, Tensor) and (
                torch._C._functorch.is_functorch_wrapped_tensor(each)
                or forward_ad.unpack_dual(each).tangent is not None
            ):
                raise NotImplementedError(
                    f"graftable::{self.name} takes no part in vmap, torch.func or forward-mode derivatives; "
                    "call it on plain tensors, and .backward() for derivatives."
                )

    def compute(self, adjacency: Adjacency, *inputs: Any) -> Any:
        """The backend's answer, without a gradient."""
        return getattr(backend_for(adjacency.col), self.name)(adjacency, *inputs)

    def differentiate(self, context: Any, *gradients: Any) -> tuple[Any, ...]:
        """The gradients of the inputs.

        Raises:
            NotImplementedError: If the operator has no derivative.
        """
        if gradients[0] is None and all(each is None for each in gradients):
            return (None,) * len(context.wanted)
        if self.backward is None:
            raise NotImplementedError(
                f"graftable::{self.name} has no derivative; only first derivatives pass through it."
            )
        return self.backward(context, *gradients)

    def _autocast(self, adjacency: Adjacency, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(map(self._cast, inputs)) if torch.is_autocast_enabled(adjacency.col.device.type) else inputs

    def _cast(self, each: Any) -> Any:
        if not isinstance(each, Tensor) or not each.is_floating_point() or each.dtype == torch.float64:
            return each
        return each.to(torch.get_autocast_dtype(each.device.type) if self.autocast == "low" else torch.float32)

    def _compute_flat(self, *flat: Any) -> Any:
        outputs = self.compute(Adjacency(*flat[:NUM_PATTERN]), *flat[NUM_PATTERN:])
        if isinstance(outputs, tuple):  # a schema has no place for an absent output
            return tuple(flat[0].new_empty(0, dtype=outputs[0].dtype) if each is None else each for each in outputs)
        return outputs

    def _fake_flat(self, *flat: Any) -> Any:
        return self.fake(Adjacency(*flat[:NUM_PATTERN]), *flat[NUM_PATTERN:])

    def _save_flat(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.adjacency = Adjacency(*inputs[:NUM_PATTERN])
        if self.save is not None:
            self.save(ctx, inputs[NUM_PATTERN:], output)

    def _backward_flat(self, ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        ctx.wanted = ctx.needs_input_grad[NUM_PATTERN:]
        return (*(None,) * NUM_PATTERN, *self.differentiate(ctx, *gradients))


class _Eager(torch.autograd.Function):
    """The fast door; the operator itself is its first argument."""

    @staticmethod
    def forward(ctx: Any, operator: Operator, adjacency: Adjacency, *inputs: Any) -> Any:
        output = operator.compute(adjacency, *inputs)
        ctx.operator, ctx.adjacency = operator, adjacency
        if operator.save is not None:
            operator.save(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        ctx.wanted = ctx.needs_input_grad[2:]
        return (None, None, *ctx.operator.differentiate(ctx, *gradients))


# what Function.apply adds is for torch.func, which __call__ has refused by then: 3 of 60 microseconds
_record: Any = super(torch.autograd.Function, _Eager).apply
