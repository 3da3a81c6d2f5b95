"""Multiply-accumulates of networks against torch's own counter, and against sums by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from bench.networks.complexity import counting  # noqa: E402

pytestmark = pytest.mark.slow

ATTENTION = nn.MultiheadAttention(8, 2, batch_first=True).eval()

WORK: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], int]] = {
    "convolution": (nn.Conv2d(4, 6, 3, stride=2, padding=1), 6 * 8 * 8 * 4 * 9),
    "grouped": (nn.Conv2d(4, 4, 3, padding=1, groups=4), 4 * 16 * 16 * 9),
    "transposed": (nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1), 4 * 16 * 16 * 2 * 16),
    "function": (lambda x: functional.conv2d(x, torch.ones(2, 4, 1, 1)), 2 * 16 * 16 * 4),
    "linear": (nn.Linear(16, 3), 4 * 16 * 3 * 16),
    "products": (lambda x: x @ x.mT + torch.matmul(x, x) + x.matmul(x), 3 * 4 * 16**3),
    "einsum": (lambda x: torch.einsum("bcij,bcjk->bcik", x, x), 4 * 16**3),
    "attention by parts": (lambda x: functional.scaled_dot_product_attention(x, x, x), 2 * 4 * 16**3),
    "attention": (lambda x: _attended(x.reshape(1, -1, 8)), 4 * 128 * 8 * 8 + 2 * 128 * 128 * 8),
    "nothing": (lambda x: functional.interpolate(x, scale_factor=2).relu(), 0),
}


def _attended(tokens: torch.Tensor) -> torch.Tensor:
    return ATTENTION(tokens, tokens, tokens, need_weights=False)[0]


@pytest.mark.parametrize("name", WORK)
@torch.no_grad()
def test_counts_what_is_multiplied_and_leaves_values_as_they_are(name: str) -> None:
    work, expected = WORK[name]
    picture = torch.rand(1, 4, 16, 16)
    plain = work(picture)
    with counting() as counter:
        counted = work(picture)
    assert counter.macs == expected
    assert torch.equal(plain, counted)


def test_nothing_is_counted_afterwards() -> None:
    with counting() as counter:
        pass
    nn.Conv2d(4, 6, 3)(torch.rand(1, 4, 16, 16))
    assert counter.macs == 0
