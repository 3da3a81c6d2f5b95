"""NIQE against pyiqa with the same model, against MATLAB's resize, and against its definition written out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import convolve, gaussian_filter
from scipy.special import gamma

from bench.errors import MetricError, UnavailableError, UnknownNameError
from bench.metrics.base import FramePair, conclude
from bench.metrics.niqe import BLOCK, Niqe, PristineModel, features, halved, luma, niqe, normalised, photographs_model
from bench.registry import metric_class
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, sample_dtype
from bench.video.sequence import open_sequence
from bench.weights import files as weights


@pytest.fixture
def model(shared_weights: Path) -> PristineModel:
    return PristineModel.load(weights.path("niqe"))


@pytest.fixture(scope="module")
def texture() -> np.ndarray[Any, Any]:
    """A picture of 300x420 with structure of every size, no two neighbours alike."""
    rng = np.random.default_rng(5)
    plane = sum(gaussian_filter(rng.normal(0, 1, (300, 420)), sigma) * sigma for sigma in (0.7, 2, 6))
    return np.rint(20 + 210 * (plane - plane.min()) / np.ptp(plane))


def grey(plane: Any, bit_depth: int = 8) -> Frame:
    fmt = VideoFormat(plane.shape[1], plane.shape[0], "gray", bit_depth)
    return Frame.from_planes(fmt, [np.asarray(plane).astype(sample_dtype(fmt))])


def rgb_frame(picture: Any, bit_depth: int = 8) -> Frame:
    height, width, _ = picture.shape
    fmt = VideoFormat(width, height, "rgb", bit_depth)
    return Frame.from_planes(fmt, [picture[..., index].astype(sample_dtype(fmt)) for index in (1, 2, 0)])


def fitted(samples: Any) -> tuple[float, float, float]:
    """Shape, left and right scale of one set of samples, straight from the paper's moment matching."""
    shapes = np.arange(0.2, 10.001, 0.001)
    ratios = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    left = np.sqrt(np.mean(samples[samples < 0] ** 2))
    right = np.sqrt(np.mean(samples[samples > 0] ** 2))
    skew = left / right
    wanted = np.mean(np.abs(samples)) ** 2 / np.mean(samples**2)
    wanted *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = shapes[np.argmin((ratios - wanted) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def features_by_hand(plane: Any, side: int) -> Any:
    offsets = np.arange(-3, 4)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    mean = convolve(plane, window, mode="nearest")
    deviation = np.sqrt(np.abs(convolve(plane**2, window, mode="nearest") - mean**2))
    coefficients = (plane - mean) / (deviation + 1)
    rows = []
    for top in range(0, plane.shape[0], side):
        for left in range(0, plane.shape[1], side):
            block = coefficients[top : top + side, left : left + side]
            shape, below, above = fitted(block)
            row = [shape, (below + above) / 2]
            for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
                shape, below, above = fitted(block * np.roll(np.roll(block, down, 0), across, 1))
                row += [shape, (above - below) * gamma(2 / shape) / gamma(1 / shape), below, above]
            rows.append(row)
    return np.array(rows)


def test_features_are_the_definitions(texture: Any) -> None:
    whole = texture[:288, :384]
    by_hand = np.hstack([features_by_hand(whole, 96), features_by_hand(halved(whole), 48)])
    assert np.abs(features(texture) - by_hand).max() < 1e-9


def test_score_is_equation_ten(texture: Any, model: PristineModel) -> None:
    found = features(texture)
    difference = found.mean(axis=0) - model.mean
    covariance = (np.cov(found.T) + model.covariance) / 2
    expected = np.sqrt(difference @ np.linalg.solve(covariance, difference))
    assert niqe(texture, model) == pytest.approx(expected, rel=1e-7)


def test_half_size_is_matlabs(texture: Any) -> None:
    from PIL import Image

    half = halved(texture)
    pillow = np.asarray(Image.fromarray(texture.astype(np.float32)).resize((210, 150), Image.Resampling.BICUBIC))
    assert half.shape == (150, 210)
    # at the edges Pillow cuts the kernel where MATLAB mirrors the picture
    assert np.abs(half - pillow)[2:-2, 2:-2].max() < 1e-4
    mirrored = halved(np.pad(texture, 8, mode="symmetric"))[4:-4, 4:-4]
    assert np.abs(half - mirrored).max() < 1e-10


@pytest.mark.neural
@pytest.mark.parametrize(
    ("clip", "tolerance"),
    [("cif/coastguard_352x288.y4m", 1e-5), ("sd/park_joy_480x270.y4m", 1e-5), ("cif/silent_352x288.y4m", 1e-3)],
)
def test_real_frames_score_as_in_pyiqa(clip: str, tolerance: float, shared_clips: Path, model: PristineModel) -> None:
    """On the same luma plane. pyiqa's window is float32: now and then a shape is the next one of the table."""
    import torch
    from pyiqa.archs.niqe_arch import niqe as theirs

    mean, covariance = torch.from_numpy(model.mean)[None], torch.from_numpy(model.covariance)
    for frame in list(open_sequence(shared_clips / clip).read())[:2]:
        plane = luma(frame)
        expected = float(theirs(torch.from_numpy(plane)[None, None], mean, covariance))
        assert niqe(plane, model) == pytest.approx(expected, abs=tolerance)


@pytest.mark.neural
def test_whole_metric_scores_as_pyiqas_on_the_same_picture(
    shared_clips: Path, model: PristineModel, tmp_path: Path
) -> None:
    import torch
    from pyiqa.archs.niqe_arch import NIQE
    from scipy.io import savemat

    from bench.video.colour import rgb_of

    savemat(tmp_path / "model.mat", {"mu_prisparam": model.mean[None], "cov_prisparam": model.covariance})
    theirs = NIQE(pretrained_model_path=str(tmp_path / "model.mat"))
    frame = next(open_sequence(shared_clips / "cif" / "akiyo_352x288.y4m").read())
    # in float32 their luma's halves would be rounded up or down as a machine's arithmetic has it: one pixel is 1e-3
    picture = torch.from_numpy(rgb_of(frame)).permute(2, 0, 1)[None].double() / 255
    ours = Niqe(frame.format).update(FramePair(0, frame, frame))
    assert ours == pytest.approx(float(theirs(picture)), abs=1e-3)


def test_luma_is_the_exact_rounding_of_the_weighted_sum() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (40, 50, 3))
    picture[0, 0] = (0, 0, 250)  # 28.5
    red, green, blue = np.moveaxis(picture, 2, 0)
    assert np.array_equal(luma(rgb_frame(picture)), (299 * red + 587 * green + 114 * blue + 500) // 1000)


def test_luma_of_ten_bit_is_that_of_eight_bit() -> None:
    picture = np.random.default_rng(2).integers(0, 1024, (40, 50, 3))
    expected = [
        [int(Fraction(255 * int(299 * r + 587 * g + 114 * b), 1023 * 1000) + Fraction(1, 2)) for r, g, b in row]
        for row in picture
    ]
    assert np.array_equal(luma(rgb_frame(picture, 10)), expected)


def test_range_of_the_file_does_not_matter(shared_clips: Path) -> None:
    frame = next(open_sequence(shared_clips / "cif" / "foreman_352x288.y4m").read())
    planes = [np.floor((p.astype(float) - o) * 255 / s + c + 0.5) for p, o, s, c in zip(
        frame.planes, (16, 128, 128), (219, 224, 224), (0, 128, 128), strict=True)]  # fmt: skip
    fmt = VideoFormat(352, 288, full_range=True, matrix=frame.format.matrix, siting=frame.format.siting)
    full = Frame.from_planes(fmt, [np.clip(plane, 0, 255) for plane in planes])
    difference = luma(full) - luma(frame)
    assert np.abs(difference).max() <= 2
    assert abs(difference.mean()) < 0.1


def test_rest_beyond_whole_blocks_is_not_looked_at(texture: Any, model: PristineModel) -> None:
    changed = texture.copy()
    changed[288:] = 255 - changed[288:]
    changed[:, 384:] = 0
    assert niqe(changed, model) == niqe(texture, model)


def test_distortion_raises_the_score(texture: Any, shared_clips: Path, model: PristineModel) -> None:
    plane = luma(next(open_sequence(shared_clips / "sd" / "foliage_720x480.mkv").read()))
    noisy = np.clip(plane + np.random.default_rng(3).normal(0, 20, plane.shape), 0, 255)
    blurred = gaussian_filter(plane, 1.5)
    original = niqe(plane, model)
    assert original is not None
    assert original < 4
    assert niqe(noisy, model) > original + 1  # type: ignore[operator]
    assert niqe(blurred, model) > original + 1  # type: ignore[operator]


def test_flat_blocks_are_left_out(texture: Any) -> None:
    """What a black bar adds are blocks without features, not features of rounding errors."""
    barred = np.vstack([np.full((2 * BLOCK, 420), 16.0), texture])
    assert np.array_equal(np.isnan(features(barred)).any(axis=1), [True] * 8 + [False] * 12)
    assert np.array_equal(normalised(np.full((96, 96), 77.0)), np.zeros((96, 96)))


@pytest.mark.parametrize("level", [0, 16, 77, 255])
def test_flat_frame_has_no_value(level: int, shared_weights: Path) -> None:
    frame = grey(np.full((192, 192), level))
    metric = Niqe(frame.format)
    values = [metric.update(FramePair(0, frame, frame))]
    assert values == [None]
    measured = conclude(metric, values)
    assert (measured.status, measured.reason) == ("undefined", "no frame has a value")


@pytest.mark.parametrize(("width", "height"), [(191, 95), (95, 1000), (100, 100), (16, 16), (191, 191)])
def test_small_frames_are_undefined_with_the_reason(width: int, height: int) -> None:
    with pytest.raises(MetricError, match=f"two blocks of 96x96, a frame of {width}x{height} is too small"):
        Niqe(VideoFormat(width, height))


@pytest.mark.parametrize(("width", "height"), [(192, 96), (97, 193)])
def test_two_blocks_are_enough(width: int, height: int, texture: Any, shared_weights: Path) -> None:
    frame = grey(texture[:height, :width])
    value = Niqe(frame.format).update(FramePair(0, frame, frame))
    assert value is not None
    assert 0 < value < 100


@pytest.mark.parametrize(("chroma", "bit_depth"), [("420", 8), ("422", 10), ("444", 12), ("gray", 10), ("rgb", 8)])
def test_every_format_has_a_value(chroma: Any, bit_depth: int, texture: Any, shared_weights: Path) -> None:
    fmt = VideoFormat(353, 289, chroma, bit_depth)
    step = 1 << (bit_depth - 8)
    planes = [np.resize(texture, shape) * step if index == 0 else np.full(shape, 128 * step)
              for index, shape in enumerate(fmt.plane_shapes)]  # fmt: skip
    frame = Frame.from_planes(fmt, planes)
    value = Niqe(fmt).update(FramePair(0, frame, frame))
    assert value is not None
    assert np.isfinite(value)


def test_source_is_measured_once_for_all_rate_points(texture: Any, shared_weights: Path) -> None:
    source, decoded = grey(texture), grey(gaussian_filter(texture, 1))
    first, second = Niqe(source.format), Niqe(source.format)
    values = [metric.update(FramePair(0, source, decoded)) for metric in (first, second)]
    own = niqe(luma(source), PristineModel.load(weights.path("niqe")))
    assert values[0] == values[1] != own
    assert [metric.pool(values)["source_mean"] for metric in (first, second)] == [own, own]
    assert source.derived(("niqe", "score"), lambda: None) == own
    assert Niqe.shares_reference


def test_source_without_value_has_no_mean(texture: Any, shared_weights: Path) -> None:
    metric = Niqe(VideoFormat(420, 300, "gray"))
    value = metric.update(FramePair(0, grey(np.full((300, 420), 16)), grey(texture)))
    assert "source_mean" not in metric.pool([value])


def test_without_the_model_it_says_what_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(UnavailableError, match="vcbench fetch weights niqe"):
        Niqe.check()


def test_identity_names_the_model(shared_weights: Path) -> None:
    assert metric_class("niqe") is Niqe
    assert Niqe.identity() == {"name": "niqe", "version": 1, "weights": weights.sha256("niqe")}
    assert Niqe(VideoFormat(352, 288)).provenance()["weights"] == weights.sha256("niqe")


def deviation(plane: Any) -> Any:
    """Local deviation under a 7x7 Gaussian of sigma 7/6, in one sum: no difference of squares."""
    taps = np.exp(-(np.arange(-3.0, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(plane, 3, mode="edge"), (7, 7))
    means = np.einsum("yxij,ij->yx", windows, window)
    return np.sqrt(np.einsum("yxij,ij->yx", (windows - means[..., None, None]) ** 2, window))


class TestPhotographs:
    """The model that comes without a download."""

    def test_it_is_of_the_sharp_blocks(self) -> None:
        rng = np.random.default_rng(5)
        sharp, soft = rng.normal(128, 40, (96, 96)), rng.normal(128, 4, (96, 96))
        plane = np.clip(np.hstack([sharp, soft, sharp[::-1], sharp.T]), 0, 255).round()
        planes = [np.vstack([plane, plane[:, ::-1]]) for _ in range(2)]
        found = PristineModel.derived(planes)
        taken = []
        for top, left in ((0, 0), (0, 48), (48, 0), (48, 48)):
            part = planes[0][top:, left:]
            deviations = [
                deviation(part)[y : y + 96, x : x + 96].mean()
                for y in range(0, part.shape[0] - 95, 96)
                for x in range(0, part.shape[1] - 95, 96)
            ]
            of_blocks = features(np.ascontiguousarray(part))
            taken += [row for row, d in zip(of_blocks, deviations, strict=True) if d > 0.75 * max(deviations)]
        assert 0 < len(taken) < 4 * 8
        assert found.mean == pytest.approx(np.mean(taken, axis=0), rel=1e-9)
        assert found.covariance == pytest.approx(np.cov(np.array(taken * 2).T), rel=1e-9, abs=1e-12)

    def test_it_ranks_distortions_as_the_authors_does(self, shared_clips: Path, model: PristineModel) -> None:
        ours = photographs_model()
        assert metric_class("niqe:photographs").name == "niqe:photographs"
        scores = []
        for clip in ("coastguard", "silent", "foreman"):
            plane = luma(next(open_sequence(shared_clips / f"cif/{clip}_352x288.y4m").read()))
            for sigma in (0.0, 0.7, 1.0, 1.5, 2.5):
                shown = gaussian_filter(plane, sigma).round() if sigma else plane
                scores.append((niqe(shown, model), niqe(shown, ours)))
        assert np.corrcoef(np.array(scores, dtype=float).T)[0, 1] > 0.8

    def test_it_needs_no_weights(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path))
        kind = metric_class("niqe:photographs")
        kind.check()
        assert kind.identity() == {"name": "niqe:photographs", "version": 1}
        metric = kind(VideoFormat(352, 288))
        assert "weights" not in metric.provenance() and "astronaut" in metric.provenance()["model"]
        with pytest.raises(UnknownNameError):
            metric_class("niqe:pictures")
