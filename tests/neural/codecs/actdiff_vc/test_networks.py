"""ActDiff-VC's decoder: warping along tracks, latents of what the prediction lacks, steps along a known flow."""

from __future__ import annotations

import math

import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai", "diffusers")

from bench.neural.codecs.actdiff_vc.config import ActDiffConfig  # noqa: E402
from bench.neural.codecs.actdiff_vc.denoiser import (  # noqa: E402
    ConcatDenoiser,
    estimate,
    integrate,
    noisy,
    windowed,
)
from bench.neural.codecs.actdiff_vc.latents import (  # noqa: E402
    LARGEST,
    SMALLEST,
    ResidualLatents,
    negative_log_likelihood,
)
from bench.neural.codecs.actdiff_vc.model import Generator, small  # noqa: E402
from bench.neural.codecs.actdiff_vc.render import MAPS, Conditions, render, warped  # noqa: E402

CONFIG = ActDiffConfig(
    width=8, deep=8, y_channels=8, hyper_channels=4, rates=3, latent_channels=8, heads=2, head_width=8, layers=1,
    refiner_width=8, refiner_blocks=1,
)  # fmt: skip
HEIGHT, WIDTH = 40, 56


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) - 0.5


def tracks(frames: int, step: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Points on a grid that all move by ``step`` (x, y) a frame, visible throughout."""
    y, x = torch.meshgrid(torch.arange(4, HEIGHT, 12.0), torch.arange(4, WIDTH, 12.0), indexing="ij")
    start = torch.stack([x, y], dim=-1).reshape(-1, 1, 2)
    positions = start + torch.arange(frames)[None, :, None] * torch.tensor(step)
    return positions, torch.ones(positions.shape[:2], dtype=torch.bool)


def conditions(frames: int = 6, height: int = HEIGHT, width: int = WIDTH) -> Conditions:
    return render(picture(0, height, width), picture(1, height, width), *tracks(frames, (1.0, 0.0)))


def test_keyframes_are_found_where_the_tracks_went() -> None:
    """All points move right by two pixels per frame: so does the picture, from both keyframes alike."""
    large = picture(0, HEIGHT, WIDTH + 16)
    first, last = large[..., 8:-8], large[..., :-16]
    found = render(first, last, *tracks(5, (2.0, 0.0)))
    for index in range(5):
        wanted = large[..., 8 - 2 * index : 8 - 2 * index + WIDTH]
        inside = slice(8, WIDTH - 8)
        assert torch.allclose(found.predicted[:, :, index, :, inside], wanted[..., inside], atol=1e-4), index
    assert found.difference[..., 8:-8].abs().max() < 1e-4


def test_a_segment_begins_and_ends_as_its_keyframes() -> None:
    found = conditions()
    assert torch.allclose(found.predicted[:, :, 0], picture(0), atol=1e-4)
    assert torch.allclose(found.predicted[:, :, -1], picture(1), atol=1e-4)


def test_without_the_last_keyframe_all_comes_from_the_first() -> None:
    positions, visible = tracks(4, (0.0, 0.0))
    found = render(picture(0), None, positions, visible)
    assert torch.allclose(found.predicted, picture(0)[:, :, None].expand(-1, -1, 4, -1, -1), atol=1e-5)
    assert not found.difference.any()
    assert not found.maps[:, 1].any()


def test_without_tracks_nothing_moves_and_nothing_is_relied_on() -> None:
    found = render(picture(0), picture(1), torch.zeros(0, 3, 2), torch.zeros(0, 3, dtype=torch.bool))
    assert torch.allclose(found.predicted[:, :, 1], (picture(0) + picture(1)) / 2, atol=1e-5)
    assert not found.maps[:, :3].any()


def test_a_track_that_is_lost_says_nothing_of_the_last_keyframe() -> None:
    positions, visible = tracks(4, (1.0, 0.0))
    visible[:, -1] = False
    found = render(picture(0), picture(1), positions, visible)
    assert not found.maps[:, 1].any()
    assert found.maps[0, 0, 1].min() > 0.5


def test_motion_between_tracks_is_scipys_interpolation() -> None:
    """Points that move at random, two of them from one place: at the middles of blocks of 8, what scipy says."""
    from scipy.interpolate import RBFInterpolator

    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(9, 2, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    positions[1] = positions[0]
    found = render(picture(0), picture(0), positions, torch.ones(9, 2, dtype=torch.bool))
    x, y = torch.meshgrid(torch.arange(3.5, WIDTH, 8), torch.arange(3.5, HEIGHT, 8), indexing="xy")
    known = RBFInterpolator(
        positions[:, 1].numpy(), (positions[:, 0] - positions[:, 1]).numpy(), kernel="linear", degree=0, smoothing=1.0
    )
    wanted = torch.from_numpy(known(torch.stack([x.flatten(), y.flatten()], dim=-1).numpy())).float()
    to_first = found.maps[0, 3:5, 1].flatten(1).T * 32
    assert torch.allclose(to_first, wanted, atol=1e-3)


def test_warping_is_torchs_roll_inside() -> None:
    field = torch.zeros(1, 2, HEIGHT // 8, WIDTH // 8)
    field[:, 0] = 3
    assert torch.allclose(warped(picture(0), field)[..., :-3], picture(0).roll(-3, dims=3)[..., :-3], atol=1e-4)


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (2, 33, 50), (6, 40, 56), (9, 5, 9)])
def test_any_length_and_size_comes_back(frames: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    generator = small(CONFIG).generator.eval()
    with torch.no_grad():
        video = generator(conditions(frames, height, width), steps=1, seed=0)
    assert video.shape == (1, 3, frames, height, width)
    assert torch.isfinite(video).all()


def test_latents_hold_what_the_prediction_lacks() -> None:
    """With a transform that loses nothing, video to latents and back is the identity; of the prediction they are 0."""
    torch.manual_seed(0)
    size = 4 * 3 * 64
    latents = ResidualLatents(ActDiffConfig(latent_channels=size, refiner_width=8, refiner_blocks=1))
    turn = torch.linalg.qr(torch.randn(size, size))[0]
    transform = latents.transform
    for there, back, width in (
        (transform.first, transform.first_back, 192),
        (transform.later, transform.later_back, size),
    ):
        for conv, matrix in ((there, turn[:, :width]), (back, turn[:, :width].T)):
            conv.weight.data = matrix[:, :, None, None].contiguous()
            torch.nn.init.zeros_(conv.bias)
    seen = conditions(6, 33, 50)
    video = torch.rand(1, 3, 6, 33, 50) - 0.5
    with torch.no_grad():
        latents.deviation.fill_(0.3)
        assert torch.allclose(latents.decode(latents.encode(video, seen), seen), video, atol=1e-4)
        assert latents.encode(seen.predicted, seen).abs().max() < 1e-5
        torch.nn.init.normal_(latents.expectation.layers[-1].weight, std=0.1)
        assert torch.allclose(latents.decode(latents.encode(video, seen), seen), video, atol=1e-4)


def test_latents_are_in_units_of_what_is_expected() -> None:
    torch.manual_seed(0)
    latents = ResidualLatents(CONFIG)
    seen = conditions(6, 33, 50)
    video = torch.rand(1, 3, 6, 33, 50) - 0.5
    with torch.no_grad():
        usual = latents.residual(video, seen)
        assert torch.equal(latents.encode(video, seen), usual)  # nothing learned: mean 0, spread 1
        torch.nn.init.normal_(latents.expectation.layers[-1].weight, std=200.0)
        mean, spread = latents.expected(seen)
        assert torch.allclose(latents.encode(video, seen), (usual - mean) / spread)
    assert float(spread.min()) == pytest.approx(SMALLEST)
    assert float(spread.max()) == pytest.approx(LARGEST)


def test_the_likelihood_is_that_of_laplaces_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    found, mean = (torch.randn(2, 3, 2, 4, 5, generator=generator) for _ in range(2))
    spread = torch.rand(2, 3, 2, 4, 5, generator=generator) + 0.1
    laplace = torch.distributions.Laplace(mean, spread / math.sqrt(2))
    assert torch.allclose(laplace.stddev, spread)
    wanted = -laplace.log_prob(found).mean() - 0.5 * math.log(2)
    assert float(negative_log_likelihood(found, mean, spread)) == pytest.approx(float(wanted), rel=1e-5)


def test_conditions_have_the_size_of_the_latents() -> None:
    latents = ResidualLatents(CONFIG)
    seen = conditions(6, 33, 50)
    with torch.no_grad():
        size = latents.encode(seen.predicted, seen).shape
        condition = latents.condition(seen)
    assert condition.shape == (1, 2 * 8 + MAPS, *size[2:])
    assert condition.shape[1] == latents.condition_channels


def test_the_flow_leads_from_noise_to_latents() -> None:
    """Along the velocity of a straight path any number of steps arrives, and one step's estimate from anywhere."""
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, 4, 3, 4, 5, generator=generator) for _ in range(2))

    def velocity(at: torch.Tensor, condition: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return (at - latents) / time[:, None, None, None, None]

    for steps in (1, 4, 10):
        assert torch.allclose(integrate(velocity, noise, latents, steps), latents, atol=1e-5)
        between = noisy(latents, noise, torch.full((2,), 0.3))
        assert torch.allclose(integrate(velocity, between, latents, steps, 0.3), latents, atol=1e-5)
    time = torch.tensor([0.3, 0.9])
    at = noisy(latents, noise, time)
    assert torch.allclose(estimate(noise - latents, at, time), latents, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(6, 8), (8, 30), (18, 14)])
def test_windows_together_are_the_whole(height: int, width: int) -> None:
    """Of a velocity that looks at each place alone, and at sizes of a window at most."""
    latents, condition = torch.randn(1, 4, 2, height, width), torch.randn(1, 4, 2, height, width)
    sizes = set()

    def velocity(at: torch.Tensor, condition: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        sizes.add(at.shape[-2:])
        return at * condition + time

    time = torch.tensor([0.5])
    assert torch.allclose(
        windowed(velocity, 8)(latents, condition, time), velocity(latents, condition, time), atol=1e-5
    )
    assert max(max(size) for size in sizes - {latents.shape[-2:]} or sizes) <= 8


def test_the_denoiser_sees_condition_and_time() -> None:
    torch.manual_seed(0)
    denoiser = ConcatDenoiser(CONFIG, 4, 3).eval()
    torch.nn.init.normal_(denoiser.network.proj_out.weight)
    latents, condition = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 3, 2, 4, 4)
    with torch.no_grad():
        at = denoiser(latents, condition, torch.tensor([0.5]))
        assert at.shape == latents.shape
        assert not torch.allclose(at, denoiser(latents, -condition, torch.tensor([0.5])))
        assert not torch.allclose(at, denoiser(latents, condition, torch.tensor([0.9])))


def test_a_seed_is_a_video() -> None:
    torch.manual_seed(0)
    generator: Generator = small(CONFIG).generator.eval()
    with torch.no_grad():
        first, again, other = (generator(conditions(), steps=2, seed=seed) for seed in (3, 3, 4))
        none, weak = (generator(conditions(), steps=2, seed=3, strength=strength) for strength in (1e-6, 0.25))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # untrained, it leaves the noise as it is
    assert torch.allclose(weak - none, 0.25 * (first - none), atol=1e-4)
