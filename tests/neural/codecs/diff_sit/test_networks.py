"""Diff-SIT's networks: warping, the generator's frame types and padding."""

from __future__ import annotations

import pytest
from needed import needed
from untrained import awake

torch = pytest.importorskip("torch")
needed("compressai", "diffusers")

from torch.nn import functional  # noqa: E402

from bench.neural.codecs.diff_sit.config import DiffSitConfig  # noqa: E402
from bench.neural.codecs.diff_sit.motion import BLOCK, cosines, warp  # noqa: E402
from bench.neural.codecs.diff_sit.odfte import Odfte, VideoAutoencoder, small_odfte  # noqa: E402
from bench.neural.codecs.diff_sit.stem import INTER, INTRA, MOTION  # noqa: E402
from bench.neural.networks.block_transform import BlockTransform, pad_video  # noqa: E402

CONFIG = DiffSitConfig(
    width=8, deep=8, y_channels=8, hyper_channels=4, flow_width=4, motion_width=8, motion_components=3, rates=3,
    vae_width=4, latent_channels=8, heads=2, head_width=8, layers=1, chunk=9,
)  # fmt: skip
TYPES = [MOTION, INTRA, MOTION, MOTION, INTER]
LOWEST = torch.tensor([0])


def odfte() -> Odfte:
    torch.manual_seed(0)
    built: Odfte = awake(small_odfte(CONFIG).requires_grad_(False), keeps=lambda name: name.startswith("frame_types"))
    return built


def video(frames: int, height: int = 32, width: int = 48) -> torch.Tensor:
    return torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) - 0.5


def test_warping_by_whole_pixels_is_a_shift() -> None:
    picture = video(1)[:, :, 0]
    field = torch.zeros(1, 2, 8, 12)
    field[:, 0], field[:, 1] = 3, -2
    moved = warp(picture, field)
    assert torch.allclose(moved[..., 2:, :-3], picture[..., :-2, 3:], atol=1e-5)
    assert torch.allclose(moved[..., 5, -1], picture[..., 3, -1], atol=1e-5)
    assert torch.allclose(warp(picture, torch.zeros_like(field)), picture, atol=1e-5)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    picture = video(1)[:, :, 0]
    field = torch.zeros(1, 2, 8, 12)
    field[:, 0] = 0.5
    assert torch.allclose(warp(picture, field)[..., :-1], (picture[..., :-1] + picture[..., 1:]) / 2, atol=1e-5)


def test_cosines_are_those_of_scipy() -> None:
    from scipy.fft import dctn

    basis = cosines(BLOCK**2)
    assert torch.allclose(basis @ basis.T, torch.eye(BLOCK**2), atol=1e-6)
    block = torch.rand(BLOCK, BLOCK, generator=torch.Generator().manual_seed(0))
    wanted = dctn(block.double().numpy(), norm="ortho")
    assert sorted((basis @ block.flatten()).tolist()) == pytest.approx(sorted(wanted.flatten().tolist()), abs=1e-5)
    assert torch.allclose(basis[0], torch.full((BLOCK**2,), 1 / BLOCK))


def test_frame_types_change_nothing_at_zero_and_something_otherwise() -> None:
    generator, source = odfte(), video(5)
    untold = generator(source, TYPES, LOWEST)
    assert torch.equal(generator(source, [INTRA] * 5, LOWEST), untold)
    torch.nn.init.normal_(generator.frame_types.out.weight, std=0.5)
    told = generator(source, TYPES, LOWEST)
    assert not torch.allclose(told, untold, atol=1e-3)
    assert not torch.allclose(generator(source, [INTRA] * 5, LOWEST), told, atol=1e-3)
    generator.told_types = False
    assert torch.equal(generator(source, TYPES, LOWEST), untold)


def test_a_frame_type_reaches_the_tokens_of_its_frame_and_its_neighbours() -> None:
    embedding = odfte().frame_types
    torch.nn.init.normal_(embedding.out.weight, std=0.5)
    before, after = (embedding([INTER] * 4 + [kind] + [INTER] * 4)[0, :, :, 0, 0] for kind in (INTER, MOTION))
    changed = (before - after).abs().sum(0) > 1e-6
    assert changed.tolist() == [False] * 3 + [True] * 3 + [False] * 3


def test_what_is_added_reaches_each_frame_once() -> None:
    """Wan's encoder takes the first frame, then four at a time: the whole is as if its first convolution had a bias."""
    generator, source = odfte(), video(9)
    vae = generator.vae
    added = torch.randn(1, vae.tokens, 1, 1, 1, generator=torch.Generator().manual_seed(2))
    found, _ = vae.encode(source, added.expand(-1, -1, 9, -1, -1))
    with torch.no_grad():
        vae.wan.encoder.conv_in.bias += added.flatten()
    wanted, _ = vae.encode(source)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_new_generator_leaves_the_intermediate_sequence_as_it_is() -> None:
    """Also what its autoencoder cannot hold: eight components are few for noise."""
    torch.manual_seed(0)
    source = video(6, 20, 30)
    generator = small_odfte(CONFIG).requires_grad_(False)
    assert torch.allclose(generator(source, [MOTION] * 6, LOWEST), source, atol=1e-5)
    assert not torch.allclose(generator(source, [MOTION] * 6, LOWEST, diffuse=False), source, atol=0.1)


def test_each_rate_has_its_share_of_the_change() -> None:
    generator, source = odfte(), video(5)
    whole = generator(source, TYPES, LOWEST)
    assert not torch.allclose(whole, source, atol=1e-3)
    assert torch.equal(generator(source, TYPES, LOWEST + 1), whole)
    generator.strength[1] *= 0.25
    assert torch.equal(generator(source, TYPES, LOWEST), whole)
    assert torch.allclose(generator(source, TYPES, LOWEST + 1), source + 0.25 * (whole - source), atol=1e-6)
    both = generator(source.expand(2, -1, -1, -1, -1), TYPES, torch.tensor([1, 0]))
    # torch convolves batches of two otherwise, with other rounding
    assert torch.allclose(both[1:], whole, atol=5e-5)
    assert torch.allclose(both[:1], source + 0.25 * (whole - source), atol=5e-5)


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (2, 33, 50), (4, 18, 70), (5, 32, 48), (8, 5, 9)])
def test_any_length_and_size_comes_back(frames: int, height: int, width: int) -> None:
    restored = odfte()(video(frames, height, width), [MOTION] * frames, LOWEST)
    assert restored.shape == (1, 3, frames, height, width)
    assert torch.isfinite(restored).all()


def test_padding_repeats_the_last_frame_and_reflects_the_sides() -> None:
    source = video(2, 20, 18)
    padded = pad_video(source, 3)
    assert padded.shape == (1, 3, 5, 32, 32)
    assert torch.equal(padded[:, :, :2, :20, :18], source)
    assert torch.equal(padded[:, :, 4], padded[:, :, 1])
    assert torch.equal(padded[:, :, :2, 20:, :18], source[:, :, :, 7:19].flip(3))


def test_decoding_is_wans_but_for_the_clamp() -> None:
    torch.manual_seed(0)
    vae = VideoAutoencoder(small_odfte(CONFIG).vae.wan)  # without the linear map beside it
    torch.nn.init.normal_(vae.wan.decoder.conv_out.weight, std=3.0)
    latents = torch.randn(1, CONFIG.latent_channels, 2, 2, 3, requires_grad=True)
    found = vae.decode(latents)
    assert torch.allclose(found.clamp(-1, 1), vae.wan.decode(latents).sample, atol=1e-6)
    assert found.abs().max() > 1
    found[found.abs() > 1].sum().backward()
    assert latents.grad.abs().sum() > 0


def test_the_block_transform_goes_there_and_back() -> None:
    """With as many latents as a block has samples and a matrix of its own inverse, nothing is lost."""
    torch.manual_seed(0)
    size = 4 * 3 * 64
    transform = BlockTransform(size)
    turn = torch.linalg.qr(torch.randn(size, size))[0]
    for there, back, width in (
        (transform.first, transform.first_back, 192),
        (transform.later, transform.later_back, size),
    ):
        for conv, matrix in ((there, turn[:, :width]), (back, turn[:, :width].T)):
            conv.weight.data = matrix[:, :, None, None].contiguous()
            torch.nn.init.zeros_(conv.bias)
    source = video(9)
    with torch.no_grad():
        latents = transform(source)
        assert latents.shape == (1, size, 3, 4, 6)
        assert torch.allclose(transform.back(latents), source, atol=1e-4)


def test_one_step_is_taken_from_sigma() -> None:
    """z0 = z - sigma v(z, 1000 sigma), on normalised latents, against the transformer called by hand."""
    generator = odfte()
    generator.mean += 0.3
    generator.deviation *= 2
    latents = torch.randn(1, CONFIG.latent_channels, 2, 4, 6, generator=torch.Generator().manual_seed(3))
    normal = (latents - 0.3) / 2
    text = torch.zeros(1, 1, 16)
    velocity = generator.transformer(normal, torch.tensor([400.0]), encoder_hidden_states=text).sample
    assert velocity.abs().max() > 1e-3
    assert torch.allclose(generator.step(latents), (normal - 0.4 * velocity) * 2 + 0.3, atol=1e-5)


def test_a_correlation_is_the_mean_product_at_each_shift() -> None:
    from bench.neural.codecs.diff_sit.motion import correlation

    first, second = video(2)[:, :, 0], video(2)[:, :, 1]
    found = correlation(first, second, reach=1)
    unfolded = functional.unfold(second, 3, padding=1).view(1, 3, 9, *second.shape[-2:])
    assert torch.allclose(found, (first[:, :, None] * unfolded).mean(1), atol=1e-6)
