"""What training believes a latent costs, against the bytes that it takes."""

from __future__ import annotations

import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai")

from bench.bitstream.entropy import SMALLEST_SCALE, scale_of_index  # noqa: E402
from bench.neural.coding.latent_coder import LatentCoder  # noqa: E402
from bench.neural.networks.blocks import noisy  # noqa: E402

CHANNELS, SIDE = 16, 32


@pytest.mark.parametrize("deviation", [0.02, 0.3, 3.0])
def test_training_tells_what_the_bytes_are_however_sure_the_coder_is(deviation: float) -> None:
    """Of a latent whose scales the coder knows; under noise alone the first would be told several hundred bytes."""
    torch.manual_seed(2)
    coder = LatentCoder(CHANNELS, 8, 4, 1, temporal=False, coarsest=1.0, finest=1.0).eval()
    with torch.no_grad():
        index = torch.log(torch.tensor(max(deviation, SMALLEST_SCALE) / SMALLEST_SCALE))
        coder.log_scale.fill_(float(index + torch.log(torch.tensor(SMALLEST_SCALE))) / 10)
        for head in coder.mean:
            head.weight.zero_()
    latent = deviation * torch.randn(1, CHANNELS, SIDE, SIDE)
    context = torch.zeros(1, 4, SIDE, SIDE)
    rate = torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        told = float(coder(latent, context, None, rate).bits)
        hyper = torch.round(coder.hyper_analysis(latent))
        noise = float((coder.prior.bits(noisy(hyper)) - coder.prior.bits(hyper)).sum())
    data, coded = coder.encode(latent, context, None, 0)
    assert told - noise == pytest.approx(8 * len(data), rel=0.02, abs=64)
    assert torch.equal(coder.decode(data, context, None, 0).latent, coded.latent)


@pytest.mark.parametrize("rdoq", [0.02, 0.1])
def test_rate_distortion_optimised_quantisation_lowers_the_cost_of_rate_and_error_together(rdoq: float) -> None:
    """Fewer bytes, more error, and less of both weighted together than rounding gives; the decoder agrees."""
    torch.manual_seed(2)
    coder = LatentCoder(CHANNELS, 8, 4, 1, temporal=False, coarsest=1.0, finest=1.0).eval()
    latent, context = 0.5 * torch.randn(1, CHANNELS, SIDE, SIDE), torch.zeros(1, 4, SIDE, SIDE)
    (plain, rounded), (thrifty, chosen) = (coder.encode(latent, context, None, 0, some) for some in (0.0, rdoq))
    errors = [float((coded.latent - latent).square().sum()) for coded in (rounded, chosen)]
    assert len(thrifty) < len(plain) and errors[1] > errors[0]
    assert errors[1] + rdoq * 8 * len(thrifty) < errors[0] + rdoq * 8 * len(plain)
    assert torch.equal(coder.decode(thrifty, context, None, 0).latent, chosen.latent)


def test_a_scale_below_all_tables_learns_to_rise_and_not_to_fall() -> None:
    for slope, learns in ((-1.0, True), (1.0, False)):
        index = torch.tensor([-3.0], requires_grad=True)
        scale = scale_of_index(index)
        (slope * scale).sum().backward()
        assert float(scale.detach()) == pytest.approx(SMALLEST_SCALE)
        assert index.grad is not None
        assert bool(index.grad != 0) is learns
