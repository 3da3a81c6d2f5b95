"""What networks cost, whatever machine they run on: multiply-accumulates, counted while they run.

Counted are torch's convolutions, matrix products and attention, also where a library calls the functions itself, by the
shapes of what they are given. Interpolation, warping, activations, norms and entropy coding are not, as in papers.

torch's own `FlopCounterMode` finds as many, and is what the tests compare with. It is not used itself: under it some
operations round otherwise, so that decoded pictures differ, a decode takes a third longer, and its import 6 s of CPU
time. Here the functions are replaced while codecs run, and their results are what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from math import prod
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional

Formula = Callable[..., int]


class Counter:
    """``macs``: multiply-accumulates so far."""

    def __init__(self) -> None:
        self.macs = 0


@contextmanager
def counting() -> Iterator[Counter]:
    """Count what networks do meanwhile, in whatever thread."""
    counter = Counter()
    with ExitStack() as stack:
        for place, names, formula in _COUNTED:
            for name in names:
                stack.enter_context(patch.object(place, name, _counted(getattr(place, name), formula, counter)))
        yield counter


def _counted(function: Callable[..., Any], formula: Formula, counter: Counter) -> Callable[..., Any]:
    @wraps(function)
    def count(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        counter.macs += formula(out, *args, **kwargs)
        return out

    return count


def _convolution(out: Any, input: Any, weight: Any, *more: Any, **_: Any) -> int:  # noqa: A002 - torch's name
    return int(out.numel() * prod(weight.shape[1:]))


def _transposed(out: Any, input: Any, weight: Any, *more: Any, **_: Any) -> int:  # noqa: A002
    return int(input.numel() * prod(weight.shape[1:]))


def _product(out: Any, input: Any, *more: Any, **_: Any) -> int:  # noqa: A002
    return int(out.numel()) * int(input.shape[-1])


def _added_product(out: Any, input: Any, first: Any, *more: Any, **_: Any) -> int:  # noqa: A002
    return int(out.numel()) * int(first.shape[-1])


def _einsum(out: Any, equation: str, *operands: Any) -> int:
    """One product for each combination of the letters; more operands than two cost as many more."""
    tensors = operands[0] if len(operands) == 1 and not torch.is_tensor(operands[0]) else operands
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    sizes = {
        letter: size for term, tensor in zip(terms, tensors, strict=True) for letter, size in _letters(term, tensor)
    }
    return prod(sizes.values()) * max(1, len(terms) - 1)


def _letters(term: str, tensor: Any) -> Iterator[tuple[str, int]]:
    before, dots, after = term.partition("...")
    shape = tuple(tensor.shape)
    free = len(shape) - len(before) - len(after) if dots else 0
    names = [*before, *(f"dot {index - free}" for index in range(free)), *after]
    return zip(names, shape, strict=True)


def _attention(out: Any, query: Any, key: Any, value: Any, *more: Any, **_: Any) -> int:
    return int(prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _whole_attention(out: Any, query: Any, key: Any, value: Any, width: int, *more: Any, **_: Any) -> int:
    """Self-attention with its four projections, which torch has as one operation for inference."""
    batch, length = query.shape[:2]
    return int(batch * (4 * length * width * width + 2 * length * length * width))


_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_PRODUCTS = ("matmul", "mm", "bmm")
_ADDED = ("addmm", "baddbmm")
_COUNTED: tuple[tuple[Any, tuple[str, ...], Formula], ...] = (
    (functional, _CONVOLUTIONS, _convolution),
    (torch, _CONVOLUTIONS, _convolution),
    (functional, _TRANSPOSED, _transposed),
    (torch, _TRANSPOSED, _transposed),
    (functional, ("linear",), _product),
    (torch, _PRODUCTS, _product),
    (torch.Tensor, (*_PRODUCTS, "__matmul__"), _product),
    (torch, _ADDED, _added_product),
    (torch.Tensor, _ADDED, _added_product),
    (torch, ("einsum",), _einsum),
    (functional, ("scaled_dot_product_attention",), _attention),
    (torch, ("_native_multi_head_attention",), _whole_attention),
)
