"""The check of metrics finds each fault under its own rule, nothing in a good metric, and nothing wrong in ours."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.conformance import FORMATS, MAX_HELD, NOISE, USUAL, Finding, check_metric, clip
from bench.conformance import metric as kit
from bench.engine.measure import measure
from bench.errors import MetricError, UnavailableError
from bench.metrics.base import DeferredMetric, FramePair, Metric, Values
from bench.registry import BUILTIN_METRICS, metric_class, metric_from_file
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

pytestmark = pytest.mark.slow


class Mae(Metric):
    """Mean absolute error of luma, white is 1."""

    name, title = "mae_y", "MAE of luma"
    direction = "lower"
    bounds = (0.0, 1.0)

    def update(self, pair: FramePair) -> float | None:
        source, decoded = (frame.planes[0].astype(float) for frame in (pair.reference, pair.distorted))
        return float(np.abs(source - decoded).mean()) / self.format.peak


def told(findings: list[Finding]) -> dict[str, str]:
    return {finding.rule: f"{finding.level} {finding.message}" for finding in findings}


def test_a_good_metric_has_no_finding() -> None:
    assert check_metric(Mae, name="mae_y") == []


class Batched(DeferredMetric):
    """Mean absolute error of luma, three frames at a time."""

    name, title = "batched", "MAE of luma in batches"
    direction = "lower"
    bounds = (0.0, 1.0)

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._pairs: list[FramePair] = []
        self._values: Values = []

    def push(self, pair: FramePair) -> None:
        self._pairs.append(pair)
        if len(self._pairs) == 3:
            self._flush()

    def _flush(self) -> None:
        self._values += [Mae(self.format).update(pair) for pair in self._pairs]
        self._pairs.clear()

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        self._flush()
        return self._values, {}


def test_a_good_deferred_metric_has_no_finding() -> None:
    assert check_metric(Batched) == []


DECLARATIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": "mae,y"}, "name is 'mae,y'"),
    ({"name": "+mae"}, "name is '+mae'"),
    ({"name": "-mae"}, "name is '-mae'"),
    ({"name": "mae y"}, "name is 'mae y'"),
    ({"name": "a/b"}, "name is 'a/b'"),
    ({"name": "mae:"}, "name is 'mae:'"),
    ({"name": None}, "name is None"),
    ({"title": ""}, "title is ''"),
    ({"needs": 3}, "needs is 3"),
    ({"unit": None}, "unit is None"),
    ({"direction": "down"}, "direction is 'down'"),
    ({"bounds": (1, 0)}, "first is not below"),
    ({"bounds": (0,)}, "not two numbers"),
    ({"bounds": (0, math.inf)}, "not two numbers"),
    ({"cap": math.inf}, "cap is inf"),
    ({"saturation": "99"}, "saturation is '99'"),
    ({"version": 0}, "version is 0"),
    ({"headline": None}, "headline is None"),
    ({"variants": ["a"]}, "variants is"),
    ({"variants": {"a": "another"}}, "variant 'a' gives an error: unknown variant of mae_y"),
    (
        {"variants": {"a": "another"}, "variant": classmethod(lambda cls, _: cls)},
        "variant 'a' gives mae_y, not mae_y:a",
    ),
    ({"fidelity": "no"}, "fidelity is 'no'"),
]


@pytest.mark.parametrize(("attributes", "message"), DECLARATIONS, ids=[message for _, message in DECLARATIONS])
def test_wrong_declaration(attributes: dict[str, Any], message: str) -> None:
    found = check_metric(type("Wrong", (Mae,), attributes))
    assert message in told(found)["declaration"]
    assert {finding.rule for finding in found} == {"declaration"}


def test_declaration_that_is_not_finished() -> None:
    class Unfinished(Metric):
        """No update."""

        name, title = "unfinished", "Unfinished"

    class Nameless(Mae):
        name = None  # type: ignore[assignment]

    assert "does not define update" in told(check_metric(Unfinished))["declaration"]
    assert "name is None" in told(check_metric(Nameless))["declaration"]


def test_name_that_differs_from_the_entry_points() -> None:
    assert "registered as 'mae'" in told(check_metric(Mae, name="mae"))["declaration"]


def test_without_a_docstring_is_a_warning() -> None:
    class Silent(Metric):
        name, title, direction = "silent", "Silent", "lower"
        update = Mae.update

    assert told(check_metric(Silent))["declaration"].startswith("warning has no docstring")


def test_unavailable_is_a_warning_and_nothing_is_measured() -> None:
    class Absent(Mae):
        @classmethod
        def check(cls) -> None:
            raise UnavailableError("mae_y: no weights; run: vcbench fetch weights mae")

        def update(self, pair: FramePair) -> float | None:
            pytest.fail("measured")

    (finding,) = check_metric(Absent)
    assert finding.level == "warning"
    assert "vcbench fetch weights mae" in finding.message


class RaisingCheck(Mae):
    @classmethod
    def check(cls) -> None:
        raise FileNotFoundError("weights")


class IdentityOfObjects(Mae):
    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "path": Path("weights")}


class ChangingIdentity(Mae):
    calls = count()

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "call": next(cls.calls)}


class NamelessIdentity(Mae):
    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {"weights": "1234"}


class ObjectProvenance(Mae):
    def provenance(self) -> dict[str, Any]:
        return {"window": np.ones(2)}


class Raising(Mae):
    def update(self, pair: FramePair) -> float | None:
        return 1 - 1 / (1 + 1 / (1 / super().update(pair)))  # type: ignore[operator]


class NotANumber(Mae):
    def update(self, pair: FramePair) -> float | None:
        value = super().update(pair)
        return value if value else math.nan


class NumpyNumber(Mae):
    def update(self, pair: FramePair) -> float | None:
        return np.float32(super().update(pair))  # type: ignore[return-value]


class WrongDirection(Mae):
    direction = "higher"


class Quantised(Mae):
    """Two strengths of noise have one value."""

    def update(self, pair: FramePair) -> float | None:
        return round(super().update(pair), 1)  # type: ignore[arg-type]


class OutOfRange(Mae):
    bounds = (0.0, 0.02)


class Uncapped(Mae):
    direction = "higher"
    bounds = (0.0, None)

    def update(self, pair: FramePair) -> float | None:
        error = super().update(pair)
        return 1 / error if error else math.inf


class WithoutReference(Mae):
    def update(self, pair: FramePair) -> float | None:
        decoded = pair.distorted.planes[0].astype(float) / self.format.peak
        return float(np.abs(np.diff(decoded, axis=0)).mean()) if decoded.shape[0] > 1 else 0.0


class Random(Mae):
    def update(self, pair: FramePair) -> float | None:
        return super().update(pair) * (1 + 1e-9 * np.random.default_rng().random())  # type: ignore[operator]


class WrongKey(Mae):
    """Keeps with the source what depends on the decoded frame."""

    def update(self, pair: FramePair) -> float | None:
        update = super().update
        return pair.reference.derived("mae", lambda: update(pair))


class WritesIntoSource(Mae):
    def update(self, pair: FramePair) -> float | None:
        value = super().update(pair)
        pair.reference.planes[0][0, 0] ^= 1
        return value


class WritesIntoDecoded(Mae):
    def update(self, pair: FramePair) -> float | None:
        value = super().update(pair)
        pair.distorted.planes[0][0, 0] ^= 1
        return value


class Hoarder(Batched):
    """Keeps all pairs to the end."""

    def push(self, pair: FramePair) -> None:
        self._pairs.append(pair)


class Clinging(Mae):
    """A metric of frame by frame that keeps every pair."""

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._kept: list[FramePair] = []

    def update(self, pair: FramePair) -> float | None:
        self._kept.append(pair)
        return super().update(pair)


class Forgetful(Batched):
    """Loses the frames of the last batch."""

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        return self._values[:-1], {}


class EightBit(Mae):
    """Takes the peak for 255."""

    bounds = (0.0, None)

    def update(self, pair: FramePair) -> float | None:
        return super().update(pair) * self.format.peak / 255  # type: ignore[operator]


class NeedsChroma(Mae):
    def update(self, pair: FramePair) -> float | None:
        return super().update(pair) + 0 * float(pair.distorted.planes[1].mean())  # type: ignore[operator]


class NeedsSide(Mae):
    def update(self, pair: FramePair) -> float | None:
        return super().update(pair) + 0 / (self.format.height // 8)  # type: ignore[operator]


class NeedsTwoFrames(Batched):
    def finish(self) -> tuple[Values, Mapping[str, float]]:
        values, extra = super().finish()
        return values, {"step": values[1] - values[0], **extra}  # type: ignore[operator]


FAULTS = [
    (RaisingCheck, "check", "FileNotFoundError: weights"),
    (IdentityOfObjects, "identity", "no strict JSON"),
    (ChangingIdentity, "identity", "changes from call to call"),
    (NamelessIdentity, "identity", "lacks the name or the version"),
    (ObjectProvenance, "provenance", "no strict JSON"),
    (Raising, "values", "identical frames: frame 0: ZeroDivisionError"),
    (NotANumber, "values", "not a number"),
    (NumpyNumber, "values", "float32; give float"),
    (WrongDirection, "order", "higher is better"),
    (Quantised, "order", "have 0, 0, "),
    (OutOfRange, "range", "outside the bounds"),
    (Uncapped, "range", "inf has no cap"),
    (WithoutReference, "source", "declare fidelity = False"),
    (Random, "repeat", "measured twice"),
    (WrongKey, "lockstep", "under a key that says everything else"),
    (WritesIntoSource, "frames", "source frames"),
    (WritesIntoDecoded, "frames", "decoded frames"),
    (Hoarder, "memory", f"holds {MAX_HELD + 4} of"),
    (Clinging, "memory", "at most 3 are allowed"),
    (Forgetful, "values", "5 values for 6 frames"),
    (EightBit, "depth", "look at format.peak"),
    (NeedsChroma, "formats", "208x176 gray: frame 0: IndexError"),
    (NeedsSide, "formats", "5x3 yuv420p: frame 0: ZeroDivisionError"),
    (NeedsTwoFrames, "formats", "one frame of 208x176 yuv420p: IndexError"),
]


@pytest.mark.parametrize(("kind", "rule", "message"), FAULTS, ids=[kind.__name__ for kind, *_ in FAULTS])
def test_each_fault_is_found_under_its_rule(kind: type[Metric], rule: str, message: str) -> None:
    found = told(check_metric(kind))
    assert found[rule].startswith("error")
    assert message in found[rule]


def test_rounding_to_8_bit_is_a_warning() -> None:
    class Rounding(Mae):
        def update(self, pair: FramePair) -> float | None:
            shift = self.format.bit_depth - 8
            source, decoded = ((frame.planes[0] >> shift).astype(float) for frame in (pair.reference, pair.distorted))
            return float(np.abs(source - decoded).mean()) / 255

    (finding,) = check_metric(Rounding)
    assert (finding.rule, finding.level) == ("depth", "warning")


def test_order_is_a_warning_for_a_metric_that_is_not_about_the_source() -> None:
    class Roughness(WithoutReference):
        fidelity = False

    assert told(check_metric(Roughness))["order"].startswith("warning the source itself and blur")


def test_too_few_frames_are_a_warning_that_names_them() -> None:
    class Long(Batched):
        def finish(self) -> tuple[Values, Mapping[str, float]]:
            raise MetricError("batched: needs 10000 frames")

    found = told(check_metric(Long))
    assert found == {"values": found["values"]}
    assert found["values"].startswith("warning not checked: there are none on 24 frames of 208x176")


def test_more_frames_are_tried_where_few_have_no_value() -> None:
    class Window(Batched):
        """Needs 16 frames, and holds no more."""

        def __init__(self, fmt: VideoFormat) -> None:
            super().__init__(fmt)
            self._pairs = deque(maxlen=16)  # type: ignore[assignment]

        def push(self, pair: FramePair) -> None:
            self._pairs.append(pair)

        def finish(self) -> tuple[Values, Mapping[str, float]]:
            if len(self._pairs) < 16:
                raise MetricError("batched: needs 16 frames")
            return [], {"mean": float(np.mean([Mae(self.format).update(pair) for pair in self._pairs]))}

    assert check_metric(Window) == []


def test_the_material_is_in_range_and_moves() -> None:
    for fmt in FORMATS:
        first, second = clip(fmt, 2)
        assert first.format == fmt
        assert first.data.max() < fmt.peak
        assert first.data.min() >= 0
        assert fmt.width < 9 or (first.data != second.data).any()
    first, second = clip(USUAL, 2)
    still, moving = np.s_[:, : USUAL.width // 2], np.s_[:, USUAL.width // 2 :]
    assert (first.planes[0][still] == second.planes[0][still]).all()
    assert (first.planes[0][moving][:, 2:] == second.planes[0][moving][:, :-2]).all()


# minutes on a CPU; what differs from others of their metric is a network that has tests of its own
SLOW = ("kd_squeezenet", ":spynet", ":raft", ":raft-small", ":hlg")
# held to packages by tests of their own; the kit takes minutes for the last two
PACKAGES = ("ssimulacra2", "cvvdp", "stlpips")
# models and planes that differ from another one's by a name or a number
ALIKE = (
    "wpsnr_u",
    "wpsnr_v",
    "deltae100",
    "pu_ssim",
    "vmaf_v1:",
    "vmaf:",
    "vmaf_neg:",
    "psnr_u:a",
    "psnr_v:a",
    "psnr_yuv:a",
    "ms_ssim:aom",
    "psnr_y:aom",
)
EVERY = [*BUILTIN_METRICS, *(f"{name}:{option}" for name in BUILTIN_METRICS for option in metric_class(name).variants)]
OURS = [name for name in EVERY if not name.endswith(SLOW) and not name.startswith((*PACKAGES, *ALIKE))]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks on one thread: several wait for each other on a machine that has more to do."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of features see pictures at half their size where these are large: the network has tests of its own."""
    import torch

    from bench.networks import features

    whole = features.pictures

    def pictures(frame: Frame, patch: int | None = None) -> Any:
        seen = whole(frame, patch)
        return torch.nn.functional.avg_pool2d(seen, 2) if min(seen.shape[-2:]) > 100 else seen

    monkeypatch.setattr(features, "pictures", pictures)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    """No interpreter for each of our metrics, which takes most of a fast one's check: one looks at them all, below."""
    monkeypatch.setattr(kit, "_start", lambda kind: ())


@pytest.mark.parametrize("name", OURS)
def test_our_metrics_conform(name: str, shared_weights: Path, one_thread: None, started: None, halved: None) -> None:
    found = check_metric(metric_class(name), name=name)
    assert [str(finding) for finding in found if finding.level == "error"] == []


def test_our_metrics_load_no_heavy_library_before_they_measure() -> None:
    """What the rule "start" asks of one metric, of each in a fork of an interpreter that has imported none."""
    code = f"""
import os, sys
from bench.registry import metric_class

for name in {OURS!r}:
    if not os.fork():
        kind = metric_class(name)
        try:
            kind.check()
        except Exception:
            pass
        print(name, *[module for module in {kit.HEAVY!r} if module in sys.modules], flush=True)
        os._exit(0)
    os.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == OURS, done.stdout + done.stderr


HEAVY = """
import cv2
from bench.metrics.base import Metric

class Heavy(Metric):
    "The mean of luma."
    name, title, direction = "heavy", "Heavy", "lower"

    def update(self, pair):
        return float(cv2.absdiff(*(frame.planes[0] for frame in (pair.reference, pair.distorted))).mean())
"""


def test_a_heavy_library_is_found_when_the_class_is_imported(tmp_path: Path) -> None:
    """In an interpreter of its own, whatever this one has loaded; and one of ours starts there without."""
    (tmp_path / "heavy.py").write_text(HEAVY)
    found = told(check_metric(metric_from_file(f"{tmp_path / 'heavy.py'}:Heavy", trust=True)))
    assert "loads cv2, which every listing would wait for" in found["start"]
    assert list(kit._start(metric_class("psnr_y"))) == []


def test_metrics_measured_together_have_the_values_they_have_alone(
    shared_weights: Path, one_thread: None, halved: None, tmp_path: Path
) -> None:
    """What they keep with the frames they share is kept under keys of their own."""
    kinds = []
    for name in BUILTIN_METRICS:
        try:
            metric_class(name).check()
        except UnavailableError:
            continue
        kinds.append(metric_class(name))

    def values(*chosen: type[Metric]) -> list[tuple[str, float | None, tuple[float | None, ...]]]:
        source, decoded = clip(USUAL, 3), clip(USUAL, 3, NOISE[1])
        found = measure(source, decoded, chosen, CodingTransform.fit(USUAL), tmp_path)
        return [(item.metric, item.value, item.frames) for item in found]

    together = values(*kinds)
    assert together == [value for kind in kinds for value in values(kind)]
    assert values(*reversed(kinds)) == together[::-1]
