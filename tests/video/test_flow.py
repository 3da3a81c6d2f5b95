import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage import data

from bench.video.flow import (
    DEFAULT_PRESET,
    MIN_SIDE,
    WarpReference,
    dis_flow,
    ewarp_frame,
    ewarp_map,
    inside,
    occlusion_mask,
    warp,
    warp_reference,
)


@pytest.fixture(scope="module")
def texture():
    """A plane far larger than the views cut out of it; wavelengths from a few pixels up, full 8-bit range."""
    rng = np.random.default_rng(0)
    plane = sum(gaussian_filter(rng.normal(0, 1, (400, 500)), sigma) * sigma for sigma in (1, 3, 9))
    return np.rint(255 * (plane - plane.min()) / np.ptp(plane)).astype(np.uint8)


def view(plane, top=100, left=100, height=160, width=200):
    return plane[top : top + height, left : left + width]


def still(height, width, displacement=(0, 0)):
    return np.full((height, width, 2), displacement, np.float32)


def reference_of(flow):
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return WarpReference(np.dstack([x, y]) + flow, inside(flow), None)


@pytest.mark.parametrize(("preset", "error"), [("ultrafast", 0.5), ("fast", 0.3), ("half", 0.12), ("medium", 0.12)])
@pytest.mark.parametrize("shift", [(3, 2), (-7, 4), (12, -9)])
def test_flow_of_a_translation_points_to_where_things_were(texture, preset, error, shift):
    current = view(texture)
    previous = view(texture, top=100 - shift[1], left=100 - shift[0])
    flow = dis_flow(current, previous, preset)
    assert flow.shape == (160, 200, 2)
    interior = flow[20:-20, 20:-20]
    assert np.hypot(*(interior - shift).transpose(2, 0, 1)).mean() < error


def test_flow_of_ten_bit_is_that_of_its_eight_bit_rounding(texture):
    a, b = view(texture), view(texture, left=97)
    deep_a, deep_b = (plane.astype(np.uint16) * 4 + 1 for plane in (a, b))
    assert np.array_equal(dis_flow(deep_a, deep_b, bit_depth=10), dis_flow(a, b))


def test_white_of_ten_bit_stays_white(texture):
    a = np.minimum(view(texture).astype(np.uint16) * 5, 1023)
    a_rounded = np.minimum(np.floor(a / 4 + 0.5), 255).astype(np.uint8)
    b, b_rounded = np.roll(a, 2, axis=1), np.roll(a_rounded, 2, axis=1)
    assert np.array_equal(dis_flow(a, b, bit_depth=10), dis_flow(a_rounded, b_rounded))


@pytest.mark.parametrize("size", [(MIN_SIDE, 2000), (2000, MIN_SIDE), (MIN_SIDE, MIN_SIDE), (33, 641)])
@pytest.mark.parametrize("preset", ["ultrafast", "half", "medium"])
def test_flow_of_extreme_shapes_is_finite(size, preset):
    a, b = np.random.default_rng(1).integers(0, 256, (2, *size), dtype=np.uint8)
    assert np.isfinite(dis_flow(a, b, preset)).all()


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((31, 400), (31, 400)), {}, "from 32 up"),
        (((40, 40), (40, 41)), {}, "one size"),
        (((40, 40), (40, 40)), {"preset": "slow"}, "ultrafast, fast, medium"),
        (((40, 40), (40, 40)), {"bit_depth": 7}, "8 to 16 bit"),
    ],
)
def test_flow_refuses_what_it_cannot_do(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        dis_flow(*(np.zeros(shape, np.uint8) for shape in shapes), **options)


def test_warping_by_whole_pixels_moves_the_image(texture):
    current, previous = view(texture), view(texture, top=98, left=97)
    flow = still(160, 200, (3, 2))
    assert np.array_equal(warp(previous, flow)[inside(flow)], current[inside(flow)])


def test_warping_is_bilinear(texture):
    image = np.dstack([view(texture)] * 3).astype(np.float32)
    rng = np.random.default_rng(2)
    flow = rng.uniform(-4, 4, (160, 200, 2)).astype(np.float32)
    y, x = np.mgrid[:160, :200].astype(np.float32)
    expected = map_coordinates(image[..., 1], [y + flow[..., 1], x + flow[..., 0]], order=1, mode="nearest")
    # OpenCV before version 5 keeps positions to 1/32 pixel.
    assert np.abs(warp(image, flow)[..., 1] - expected).max() < np.ptp(np.diff(image[..., 0], axis=1)) / 32


def test_positions_outside_the_frame_are_not_inside():
    flow = still(40, 50, (3, -2))
    expected = np.zeros((40, 50), bool)
    expected[2:, :47] = True
    assert np.array_equal(inside(flow), expected)


def test_opposite_flows_that_agree_are_not_occluded():
    assert not occlusion_mask(still(40, 50, (4, 1)), still(40, 50, (-4, -1))).any()


@pytest.mark.parametrize(("residual", "occluded"), [(0.70, False), (0.72, True)])
def test_small_disagreement_is_forgiven_up_to_the_constant(residual, occluded):
    """With hardly any motion the threshold is 0.5 + 0.01 |w|²: a residual of 0.7106 pixels."""
    assert occlusion_mask(still(40, 50), still(40, 50, (residual, 0))).all() == occluded


@pytest.mark.parametrize(("residual", "occluded"), [(1.60, False), (1.70, True)])
def test_disagreement_is_forgiven_in_proportion_to_motion(residual, occluded):
    """|f| = 10, |o| = 10 + r: r² > 0.01 (100 + (10 + r)²) + 0.5 from r = 1.689 on."""
    mask = occlusion_mask(still(40, 50, (10, 0)), still(40, 50, (-10 - residual, 0)))
    assert mask[:, :40].all() == occluded
    assert mask[:, :40].any() == occluded


def test_moving_square_hides_what_it_covers():
    """A square moves 6 pixels right: what it uncovers was hidden before, and its outline is a motion boundary."""
    flow, opposite = still(60, 80), still(60, 80)
    flow[20:40, 36:56] = (-6, 0)
    opposite[20:40, 30:50] = (6, 0)
    uncovered = np.zeros((60, 80), bool)
    uncovered[20:40, 30:36] = True
    assert np.array_equal(occlusion_mask(flow, opposite, motion_boundaries=False), uncovered)
    outline = np.zeros((60, 80), bool)
    outline[20:40, [35, 55]] = True
    outline[[19, 39], 36:56] = True
    assert np.array_equal(occlusion_mask(flow, opposite), uncovered | outline)


def test_identical_frames_have_no_warping_error(texture):
    frame = view(texture)
    reference = warp_reference(frame, frame)
    assert reference.visible.all()
    assert ewarp_frame(frame, frame, reference, peak=255) == 0.0


def test_true_motion_has_no_warping_error(texture):
    previous, current = view(texture, top=98, left=97), view(texture)
    assert ewarp_frame(previous, current, reference_of(still(160, 200, (3, 2))), peak=255) == 0.0


@pytest.mark.parametrize(("dtype", "peak"), [(np.uint8, 255), (np.uint16, 1023), (np.float32, 1.0)])
def test_flicker_of_known_height_is_its_square(dtype, peak):
    """Flat frames that differ by a tenth of white in one of three channels: 0.01 / 3, whatever the motion."""
    previous = np.full((60, 80, 3), 0.5 * peak, np.float64).round(3 if peak == 1 else 0).astype(dtype)
    current = previous.copy()
    step = dtype(0.1 if peak == 1 else round(0.1 * peak))
    current[..., 1] += step
    found = ewarp_frame(previous, current, reference_of(still(60, 80, (2.5, 1))), peak=peak)
    assert found == pytest.approx((float(step) / peak) ** 2 / 3, rel=1e-5)


@pytest.mark.parametrize("displacement", [0.25, 0.5, 1.0])
def test_wrong_flow_on_a_ramp_has_the_error_of_its_slope(displacement):
    """A static ramp of slope 2 warped by d pixels is off by 2 d everywhere."""
    ramp = np.tile(np.arange(0, 160, 2, dtype=np.uint8), (60, 1))
    found = ewarp_frame(ramp, ramp, reference_of(still(60, 80, (displacement, 0))), peak=255)
    assert found == pytest.approx((2 * displacement / 255) ** 2, rel=1e-5)


def test_only_visible_pixels_count(texture):
    frame = np.dstack([view(texture)] * 3)
    changed = frame.copy()
    changed[:, :50] = 255 - changed[:, :50]
    visible = np.ones((160, 200), bool)
    visible[:, :40] = False
    reference = WarpReference(reference_of(still(160, 200)).positions, visible, None)
    difference = (changed.astype(float) - frame)[visible] / 255
    assert ewarp_frame(frame, changed, reference, peak=255) == pytest.approx((difference**2).mean(), rel=1e-6)


def test_the_map_says_where_the_error_is(texture):
    frame = np.dstack([view(texture)] * 3)
    changed = frame.copy()
    changed[20:30, 50:60, 1] ^= 64
    visible = np.ones((160, 200), bool)
    visible[:, :40] = False
    reference = WarpReference(reference_of(still(160, 200)).positions, visible, None)
    errors = ewarp_map(frame, changed, reference, peak=255)
    assert (np.isnan(errors) == ~visible).all()
    inside = np.zeros_like(visible)
    inside[20:30, 50:60] = True
    assert errors[inside] == pytest.approx(64 / 255 / 3**0.5, rel=1e-6)
    assert (errors[visible & ~inside] == 0).all()
    assert np.nanmean(errors**2) == pytest.approx(ewarp_frame(frame, changed, reference, peak=255), rel=1e-5)


@pytest.mark.parametrize("preset", ["ultrafast", "fast", DEFAULT_PRESET])
def test_flicker_is_measured_through_the_estimated_flow(texture, preset):
    """Independent noise in both frames: twice its variance, less what interpolation takes from the warped one."""
    rng = np.random.default_rng(3)
    source = [view(texture, top=98, left=97), view(texture)]
    decoded = [frame + rng.normal(0, 12, frame.shape) for frame in source]
    reference = warp_reference(*source, preset=preset)
    found = ewarp_frame(*decoded, reference, peak=255)
    assert (12 / 255) ** 2 < found < 2.2 * (12 / 255) ** 2
    assert ewarp_frame(*source, reference, peak=255) < 0.15 * found


def test_moving_square_is_measured_without_the_uncovered_background(texture):
    background, square = view(texture), view(texture, top=10, left=10, height=60, width=60)
    previous, current = background.copy(), background.copy()
    previous[50:110, 60:120] = square
    current[50:110, 68:128] = square
    reference = warp_reference(previous, current)
    assert reference.visible[50:110, 61:67].mean() < 0.25
    assert reference.visible.mean() > 0.85


def test_scene_cut_has_no_value_but_a_reason():
    before, after = (view(photograph, top=20) for photograph in (data.camera(), data.coins()))
    reference = warp_reference(before, after)
    assert reference.reason is not None
    assert reference.reason.startswith("scene cut")
    assert ewarp_frame(before, after, reference, peak=255) is None


def test_frames_of_another_size_are_refused(texture):
    reference = reference_of(still(60, 80))
    with pytest.raises(ValueError, match="differ in size"):
        ewarp_frame(view(texture), view(texture), reference, peak=255)


def test_sampling_is_bilinear_in_full_precision() -> None:
    """Against SciPy, inside and outside the picture; a picture that is read-only is no trouble."""
    generator = np.random.default_rng(4)
    image = generator.random((30, 41, 3), np.float32)
    image.flags.writeable = False
    flow = (12 * generator.random((30, 41, 2), np.float32) - 6).astype(np.float32)
    y, x = np.mgrid[:30, :41] + np.moveaxis(flow[..., ::-1], 2, 0).astype(float)
    expected = [map_coordinates(image[..., c].astype(float), [y, x], order=1, mode="nearest") for c in range(3)]
    assert np.abs(warp(image, flow) - np.dstack(expected)).max() < 1e-5
    assert np.array_equal(warp(image[..., 0], flow), warp(image, flow)[..., 0])
