"""Metrics that the package pyiqa computes, by its names: ``pyiqa:<name>``, and CLIP-IQA and MUSIQ by theirs.

pyiqa downloads weights by itself, and loads them in ways that may execute them. Here it does the one only for
``download``, which writes down every file that was read, and the other never: see bench.networks.guarded_load.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.core.files import canonical_json, file_digest, write_atomically
from bench.errors import FetchError, MetricError, UnavailableError, UnknownNameError, UsageError
from bench.metrics.base import FramePair, Metric
from bench.metrics.no_reference import NoReferenceMetric
from bench.networks.device import device, rgb_tensor
from bench.networks.guarded_load import sealed
from bench.video import colour
from bench.video.frame import Frame
from bench.weights import files as weights

if TYPE_CHECKING:
    import torch

HOW_TO_INSTALL = "pip install 'vcbench[iqa]' (its licence is non-commercial since April 2026)"
FAMILY = "pyiqa"

_NOT_OF_A_FRAME = {
    "FID": "compares sets of pictures; ask for fid",
    "InceptionScore": "is of a set of pictures",
    "CLIPScore": "compares a picture with a caption",
}
_WITHOUT_WEIGHTS = {
    "cw_ssim",
    "entropy",
    "fsim",
    "gmsd",
    "mad",
    "ms_ssim",
    "nlpd",
    "piqe",
    "psnr",
    "psnry",
    "ssim",
    "ssimc",
    "vif",
    "vsi",
}
_ON_CLIP = {"CLIPIQA", "LAIONAes", "LIQE", "MACLIP", "QualiCLIP"}


@dataclass(frozen=True)
class WeightsFile:
    """A file that a metric of pyiqa was made from."""

    path: str
    bytes: int
    sha256: str


def download(model: str) -> list[WeightsFile]:
    """Have pyiqa fetch what a metric needs, prove that nothing of it is random, and write down what it read.

    ``model`` is pyiqa's name. Files that are in the caches of pyiqa, torch and Hugging Face already are taken from
    there. Raises UnavailableError without pyiqa, UnknownNameError, and FetchError where a download fails, a file would
    have to be executed, or values depend on chance.
    """
    _require(model)
    if model in _WITHOUT_WEIGHTS:
        return []
    with sealed(network=True) as seal:
        try:
            scores = [_trial(model, seed) for seed in (0, 1)]
        except Exception as error:  # anything, from networks, archives and networks' code
            reason = "; ".join(seal.refused) or f"{type(error).__name__}: {error}"
            raise FetchError(f"{FAMILY}:{model} cannot be made ready by pyiqa: {reason}") from error
    if scores[0] != scores[1]:
        raise FetchError(f"{FAMILY}:{model} gives {scores[0]} and {scores[1]} for one picture: its weights are random")
    files = [WeightsFile(str(path), path.stat().st_size, file_digest(path)) for path in _from_caches(seal.opened)]
    record = _record(model)
    record.parent.mkdir(parents=True, exist_ok=True)
    content = {"pyiqa": version("pyiqa"), "files": [asdict(file) for file in files]}
    write_atomically(record, canonical_json(content).encode())
    return files


def needed_files(model: str) -> list[WeightsFile]:
    """Files that a metric of pyiqa is made from, as ``download`` wrote them down; none are read.

    Raises UnavailableError, saying what to run, where that was not done for this version of pyiqa, or a file has gone.
    """
    _require(model)
    if model in _WITHOUT_WEIGHTS:
        return []
    remedy = f"run: vcbench fetch weights {FAMILY}:{model}"
    try:
        content = json.loads(_record(model).read_text(encoding="utf-8"))
        files = [WeightsFile(**entry) for entry in content["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise UnavailableError(f"weights of {FAMILY}:{model}: not made ready on this machine; {remedy}") from None
    if content["pyiqa"] != version("pyiqa"):
        raise UnavailableError(f"weights of {FAMILY}:{model}: made ready for pyiqa {content['pyiqa']}; {remedy}")
    for file in files:
        path = Path(file.path)
        if not path.is_file() or path.stat().st_size != file.bytes:
            raise UnavailableError(f"weights of {FAMILY}:{model}: {path} has gone or changed; {remedy}")
    return files


def _record(model: str) -> Path:
    return weights.own_folder() / FAMILY / f"{model}.json"


def _require(model: str) -> None:
    """Raise UnavailableError unless what a metric's code needs is installed; otherwise as ``_configuration``."""
    kind = _configuration(model)["metric_opts"]["type"]
    if kind in _ON_CLIP and find_spec("pkg_resources") is None:
        raise UnavailableError(f"{FAMILY}:{model} needs pkg_resources, for openai-clip: pip install 'setuptools<81'")


@cache
def _configurations() -> Mapping[str, Mapping[str, Any]]:
    """pyiqa's own table of metrics, from its file alone: importing the package takes ten seconds."""
    package = find_spec("pyiqa")
    if package is None or package.origin is None:
        raise UnavailableError(f"pyiqa not installed: {HOW_TO_INSTALL}")
    spec = spec_from_file_location("_pyiqa_configurations", Path(package.origin).with_name("default_model_configs.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Mapping[str, Mapping[str, Any]] = module.DEFAULT_CONFIGS
    return found


def _configuration(model: str) -> Mapping[str, Any]:
    """What pyiqa says of a metric. Raises UnknownNameError, or UsageError for one that is not of single frames."""
    known = _configurations()
    if model not in known:
        raise UnknownNameError("metric of pyiqa", model, known)
    if (reason := _NOT_OF_A_FRAME.get(known[model]["metric_opts"]["type"])) is not None:
        raise UsageError(f"{FAMILY}:{model} {reason}")
    return known[model]


def _bounds(score_range: str) -> tuple[float | None, float | None]:
    """pyiqa's "0, 1"; a side that it marks as approximate ("~100") is no bound."""

    def bound(text: str) -> float | None:
        try:
            return float(text)
        except ValueError:
            return None

    sides = score_range.split(",")
    return (bound(sides[0]), bound(sides[1])) if len(sides) == 2 else (None, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """pyiqa prints what it loads to standard output, and its dependencies warn when they are imported."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _create(model: str) -> Any:
    with _quiet():
        import pyiqa

        return pyiqa.create_metric(model, device=device())


@contextmanager
def _hugging_face_offline() -> Iterator[None]:
    """Its own switch, set before or after it was imported: it tries a refused connection again for half a minute."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _trial(model: str, seed: int) -> float:
    """Score of a fixed picture by a network that was made under a seed."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _create(model)
    picture = torch.rand(1, 3, 384, 512, generator=torch.Generator().manual_seed(7)).to(device())
    pictures = (picture, picture.flip(3)) if network.metric_mode == "FR" else (picture,)
    return _number(network(*pictures), model)


def _from_caches(opened: Iterable[Path]) -> list[Path]:
    """Those of the opened files that are weights: in the caches of pyiqa and torch, and Hugging Face's snapshots."""
    import torch
    from huggingface_hub.constants import HF_HUB_CACHE
    from pyiqa.utils.download_util import DEFAULT_CACHE_DIR

    hugging_face = Path(HF_HUB_CACHE)
    found = set()
    for path in opened:
        if path.is_relative_to(hugging_face):
            # its tensors are opened out of Python's sight; the name of the snapshot is not
            if path.parent.name == "refs":
                found |= set((path.parents[1] / "snapshots" / path.read_text(encoding="utf-8").strip()).rglob("*"))
        elif any(path.is_relative_to(folder) for folder in (torch.hub.get_dir(), DEFAULT_CACHE_DIR)):
            found.add(path)
    return sorted(path for path in found if path.is_file())


@lru_cache(maxsize=4)
def _network(model: str, files: tuple[WeightsFile, ...]) -> Any:
    """Network of a metric, made of these files and no others."""
    remedy = f"run: vcbench fetch weights {FAMILY}:{model}"
    for file in files:
        if file_digest(Path(file.path)) != file.sha256:
            raise UnavailableError(f"weights of {FAMILY}:{model}: {file.path} has changed; {remedy}")
    try:
        with sealed() as seal, _hugging_face_offline():
            network = _create(model)
    except Exception as error:  # a connection refused, in whatever the libraries make of it, or anything of theirs
        reason = "; ".join(seal.refused) or f"{type(error).__name__}: {error}"
        raise UnavailableError(f"{FAMILY}:{model} cannot be made of the files on record: {reason}; {remedy}") from error
    if unknown := set(map(str, _from_caches(seal.opened))) - {file.path for file in files}:
        raise UnavailableError(f"weights of {FAMILY}:{model}: {sorted(unknown)[0]} is not on record; {remedy}")
    return network


def _number(output: Any, model: str) -> float:
    """The one number that a metric has for a frame."""
    import torch

    if not isinstance(output, torch.Tensor) or output.numel() != 1:
        raise MetricError(f"{FAMILY}:{model} does not have exactly one value per frame")
    return float(output.item())


class Pyiqa(Metric):
    """A metric of the package pyiqa, computed by it from RGB frames."""

    name = "pyiqa:musiq"
    title = "a metric of pyiqa"
    needs = f"pyiqa: {HOW_TO_INSTALL}; weights: vcbench fetch weights pyiqa:musiq"
    model: ClassVar[str]

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        """Class of a metric of pyiqa. Raises UnknownNameError, UsageError if it is not of frames, UnavailableError."""
        return _class_of(":".join(options))

    @classmethod
    def check(cls) -> None:
        needed_files(cls.model)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), **cls._made_of()}

    @classmethod
    def _made_of(cls) -> dict[str, Any]:
        """Version of pyiqa and SHA-256 of every file of weights, as far as they are here."""
        try:
            files = [{"file": Path(file.path).name, "sha256": file.sha256} for file in needed_files(cls.model)]
            return {"pyiqa": version("pyiqa"), "weights": files}
        except UnavailableError:
            return {"pyiqa": None, "weights": None}

    def provenance(self) -> dict[str, Any]:
        return {"conversion": colour.describe(self.format), **self._made_of()}

    def _call(self, *pictures: torch.Tensor) -> float:
        network = _network(self.model, tuple(needed_files(self.model)))
        with sealed(), _hugging_face_offline(), _quiet():
            return _number(network(*pictures), self.model)


class FullReferencePyiqa(Pyiqa):
    """A metric of pyiqa that compares decoded frames with the source's."""

    def update(self, pair: FramePair) -> float | None:
        return self._call(rgb_tensor(pair.distorted), rgb_tensor(pair.reference))


class NoReferencePyiqa(Pyiqa, NoReferenceMetric):
    """A metric of pyiqa that looks at decoded frames alone."""

    def score(self, frame: Frame) -> float | None:
        return self._call(rgb_tensor(frame))


class ClipIqa(NoReferencePyiqa):
    """CLIP-IQA of the decoded frames."""

    name = "clipiqa"
    title = "CLIP-IQA, RN50"
    needs = f"pyiqa: {HOW_TO_INSTALL}; weights: vcbench fetch weights pyiqa:clipiqa"
    bounds = (0.0, 1.0)
    model = "clipiqa"


class Musiq(NoReferencePyiqa):
    """MUSIQ, trained on KonIQ-10k, of the decoded frames."""

    name = "musiq"
    title = "MUSIQ, KonIQ-10k"
    model = "musiq"


@cache
def _class_of(model: str) -> type[Metric]:
    configuration = _configuration(model)
    full = configuration["metric_mode"] == "FR"
    base: type[Pyiqa] = FullReferencePyiqa if full else NoReferencePyiqa
    attributes = {
        "name": f"{FAMILY}:{model}",
        "title": f"{model} by pyiqa, {'with' if full else 'without'} reference",
        "direction": "lower" if configuration.get("lower_better") else "higher",
        "bounds": _bounds(configuration.get("score_range", "")),
        "needs": f"pyiqa: {HOW_TO_INSTALL}"
        + ("" if model in _WITHOUT_WEIGHTS else f"; weights: vcbench fetch weights {FAMILY}:{model}"),
        "model": model,
        "__doc__": base.__doc__,
    }
    return type(base.__name__, (base,), attributes)
