"""Adapters and metrics by name: built in, plug-ins by entry point, and files beside a card when they are trusted."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.adapters.base import BaseCodec, Codec, ExternalCodec, Settings
from bench.cards import Card, is_ours
from bench.core.sandbox import Sandbox
from bench.errors import CardError, UnavailableError, UnknownNameError, UsageError
from bench.metrics.sets import SETS

if TYPE_CHECKING:
    from bench.metrics.base import Metric

ENTRY_POINTS = "vcbench.adapters"
METRIC_ENTRY_POINTS = "vcbench.metrics"

FILE_MODULE = "vcbench_user_"
"""What the module of a file executed by path is called, before the file's own name."""

BUILTIN = {
    "ffmpeg": "bench.adapters.ffmpeg:FFmpegCodec",
    "command": "bench.adapters.command:CommandCodec",
    "neural": "bench.adapters.neural:NeuralCodec",
    "worker": "bench.adapters.worker:WorkerFileCodec",
    "dcvc-fm": "bench.adapters.official.dcvc_fm:DcvcFmCodec",
    "s2vc-official": "bench.adapters.official.s2vc:S2vcOfficialCodec",
    "actdiff-official": "bench.adapters.official.actdiff_vc:ActDiffOfficialCodec",
    "compressai": "bench.adapters.compressai:CompressaiCodec",
}


def adapter_class(name: str, *, folder: Path | None = None, trust: bool = False) -> type[BaseCodec]:
    """Class of an adapter.

    ``name`` is built in, the name of an entry point, or ``file.py:Class`` relative to ``folder`` (the card's), which
    is executed only when ``trust`` is true. Raises UnknownNameError, or UnavailableError when a plug-in does not
    import.
    """
    if name in BUILTIN:
        return _import(BUILTIN[name])
    if ".py:" in name:
        return _from_file(name, folder, trust)
    plugins = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in plugins:
        raise UnknownNameError("adapter", name, [*BUILTIN, *plugins])
    try:
        return _checked(plugins[name].load(), name)
    except (Exception, SystemExit) as error:  # a plug-in may raise anything; only its own codecs must suffer
        raise UnavailableError(f"plug-in adapter {name!r} cannot be imported: {error!r}") from error


def build(card: Card, *, folder: Path | None = None, trust: bool = False, sandbox: Sandbox | None = None) -> BaseCodec:
    """Codec of a card. Raises CardError for settings that its adapter does not take.

    With a ``sandbox``, all of its programs run there, and so does a Python file beside the card, which this process
    does not execute then. A card of a ``folder`` that does not come with vcbench is data: without ``trust`` it runs no
    program of its choice.
    One that is in no file was made by the caller, and is trusted as the caller is.
    """
    if sandbox is not None and trust and folder is not None and ".py:" in card.adapter:
        from bench.adapters.child import UnseenCodec

        codec: BaseCodec = UnseenCodec(card)
    else:
        codec = adapter_class(card.adapter, folder=folder, trust=trust)(card)
    wants_gpu = card.needs.gpu or os.environ.get("VCBENCH_DEVICE", "cpu") != "cpu"
    codec.sandbox = replace(sandbox, gpu=wants_gpu) if sandbox is not None else None
    codec.folder = folder
    codec.trusted = trust or folder is None or is_ours(folder)
    return codec


def builtin_settings() -> dict[str, type[Settings]]:
    """Model of the ``settings`` table of each built-in adapter."""
    return {name: _import(path).settings_model for name, path in BUILTIN.items()}


def card_schema() -> dict[str, Any]:
    """JSON Schema of a card, and in ``x-settings`` that of the table ``settings`` for each built-in adapter."""
    models = builtin_settings()
    settings = {name: model.model_json_schema() for name, model in models.items()}
    return {**Card.model_json_schema(), "x-settings": settings}


def _import(path: str) -> type[BaseCodec]:
    module, _, name = path.partition(":")
    return _checked(getattr(importlib.import_module(module), name), path)


def _checked(loaded: Any, name: str) -> type[BaseCodec]:
    if not (isinstance(loaded, type) and issubclass(loaded, Codec | ExternalCodec)):
        raise UsageError(
            f"adapter {name!r} is {loaded!r}, not a subclass of bench.adapters.base.Codec or ExternalCodec"
        )
    return loaded


def _from_file(name: str, folder: Path | None, trust: bool) -> type[BaseCodec]:
    file, _, attribute = name.partition(":")
    if folder is None:
        raise CardError(f"adapter {name!r} names a file, but the card has no folder")
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CardError(f"adapter {name!r} leads out of the card's folder {folder}")
    try:
        loaded = _executed(path, attribute, trust)
    except UsageError as error:
        raise CardError(f"adapter {name!r}: {error}") from None
    return _checked(loaded, name)


def _executed(path: Path, attribute: str, trust: bool) -> Any:
    """What a Python file calls ``attribute``; the file is executed, once it is trusted."""
    if not trust:
        raise UnavailableError(f"{path.name}:{attribute} would execute {path}; give --trust if you trust that file")
    spec = importlib.util.spec_from_file_location(f"{FILE_MODULE}{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # as for plug-ins
        del sys.modules[spec.name]
        raise UnavailableError(f"{path} cannot be imported: {error!r}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"{path} has no class {attribute}")
    return getattr(module, attribute)


BUILTIN_METRICS = {
    "psnr_y": "bench.metrics.fidelity:PsnrY",
    "psnr_u": "bench.metrics.fidelity:PsnrU",
    "psnr_v": "bench.metrics.fidelity:PsnrV",
    "psnr_yuv": "bench.metrics.fidelity:PsnrYuv",
    "psnr_rgb": "bench.metrics.fidelity:PsnrRgb",
    "ssim": "bench.metrics.fidelity:Ssim",
    "ms_ssim": "bench.metrics.fidelity:MsSsim",
    "vmaf": "bench.metrics.libvmaf:Vmaf",
    "vmaf_neg": "bench.metrics.libvmaf:VmafNeg",
    "vmaf_v1": "bench.metrics.libvmaf:VmafV1",
    "cambi": "bench.metrics.libvmaf:Cambi",
    "psnr_hvs": "bench.metrics.libvmaf:PsnrHvs",
    "ciede2000": "bench.metrics.libvmaf:Ciede2000",
    "ssim:aom": "bench.metrics.libvmaf:SsimAom",
    "ms_ssim:aom": "bench.metrics.libvmaf:MsSsimAom",
    "xpsnr": "bench.metrics.filters:Xpsnr",
    "lpips_alex": "bench.metrics.perceptual:LpipsAlex",
    "lpips_vgg": "bench.metrics.perceptual:LpipsVgg",
    "dists": "bench.metrics.perceptual:Dists",
    "ssimulacra2": "bench.metrics.ssimulacra2:Ssimulacra2",
    "cvvdp": "bench.metrics.by_cvvdp:Cvvdp",
    "stlpips": "bench.metrics.stlpips:StLpips",
    "niqe": "bench.metrics.niqe:Niqe",
    "clipiqa": "bench.metrics.iqa:ClipIqa",
    "musiq": "bench.metrics.iqa:Musiq",
    "ewarp": "bench.metrics.temporal:Ewarp",
    "tof": "bench.metrics.temporal:Tof",
    "tlpips": "bench.metrics.temporal_lpips:Tlpips",
    "flolpips": "bench.metrics.temporal_lpips:FloLpips",
    "pvcs": "bench.metrics.pvcs:Pvcs",
    "flicker": "bench.metrics.flicker:Flicker",
    "fid": "bench.metrics.distribution:Fid",
    "fid_256": "bench.metrics.distribution:Fid256",
    "kid": "bench.metrics.distribution:Kid",
    "kid_256": "bench.metrics.distribution:Kid256",
    "fd_squeezenet": "bench.metrics.distribution:FdSqueezenet",
    "fd_squeezenet_256": "bench.metrics.distribution:FdSqueezenet256",
    "kd_squeezenet": "bench.metrics.distribution:KdSqueezenet",
    "kd_squeezenet_256": "bench.metrics.distribution:KdSqueezenet256",
    "fvd": "bench.metrics.fvd:Fvd",
}

DEFAULT_METRICS = SETS["basic"].metrics


# Names that only mean something with what stands behind the colon.
METRIC_FAMILIES = {"pyiqa": "bench.metrics.iqa:Pyiqa", "piq": "bench.metrics.by_piq:Piq"}


@cache
def metric_class(name: str) -> type[Metric]:
    """Class of a metric: built in, a variant ("ewarp:spynet"), or a plug-in's entry point.

    Raises UnknownNameError or UnavailableError.
    """
    base, *options = name.split(":")
    if not options or name in BUILTIN_METRICS:
        return _metric_class(name)
    family = _load_metric(METRIC_FAMILIES[base]) if base in METRIC_FAMILIES else _metric_class(base)
    return family.variant(tuple(options))


def metric_from_file(name: str, *, trust: bool = False) -> type[Metric]:
    """Class of a metric that is not installed, ``path/to/file.py:Class``, so that its author can check it.

    The file is executed only when ``trust`` is true; UnavailableError otherwise, and when it does not import.
    """
    file, _, attribute = name.rpartition(":")
    return _checked_metric(_executed(Path(file).resolve(), attribute, trust), name)


def _metric_class(name: str) -> type[Metric]:
    if name in BUILTIN_METRICS:
        return _load_metric(BUILTIN_METRICS[name])
    if name in METRIC_FAMILIES:
        raise UsageError(f"{name} is a family of metrics; name one, such as {_load_metric(METRIC_FAMILIES[name]).name}")
    plugins = {point.name: point for point in entry_points(group=METRIC_ENTRY_POINTS)}
    if name not in plugins:
        raise UnknownNameError("metric", name, [*BUILTIN_METRICS, *METRIC_FAMILIES, *SETS, *plugins])
    try:
        return _checked_metric(plugins[name].load(), name)
    except (Exception, SystemExit) as error:  # as for adapters
        raise UnavailableError(f"plug-in metric {name!r} cannot be imported: {error!r}") from error


def metric_names() -> list[str]:
    """Every metric that can be asked for, built in first."""
    return [*BUILTIN_METRICS, *sorted(point.name for point in entry_points(group=METRIC_ENTRY_POINTS))]


def _load_metric(path: str) -> type[Metric]:
    module, _, name = path.partition(":")
    return _checked_metric(getattr(importlib.import_module(module), name), path)


def _checked_metric(loaded: Any, name: str) -> type[Metric]:
    from bench.metrics.base import Metric

    if not (isinstance(loaded, type) and issubclass(loaded, Metric)):
        raise UsageError(f"metric {name!r} is {loaded!r}, not a subclass of bench.metrics.base.Metric")
    return loaded
