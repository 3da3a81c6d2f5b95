"""Adapters and metrics by name: built in, plug-ins by entry point, and files beside a card when they are trusted."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.adapters.base import BaseCodec, Settings
from bench.adapters.child import UnseenCodec
from bench.cards import Card, is_ours
from bench.core.files import digest_of
from bench.core.sandbox import Sandbox
from bench.errors import CardError, UnavailableError, UnknownNameError, UsageError
from bench.metrics.sets import SETS

if TYPE_CHECKING:
    from bench.metrics.base import Metric

T = TypeVar("T")

FILE_MODULE = "vcbench_user_"
"""How the name of a module begins that was executed by its path."""


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Classes of one kind by name; each is imported when it is asked for.

    kind: what they are, in messages. group: of the entry points by which packages offer theirs. builtin: "module:Class"
    of each of ours. base: of which one every class must be derived, as "module:Class".
    """

    kind: str
    group: str
    builtin: Mapping[str, str]
    base: tuple[str, ...]

    def find(self, name: str, also: Iterable[str] = ()) -> type[T]:
        """The class of a name. Raises UnknownNameError, with ``also`` among the names there are, or UnavailableError
        for a plug-in that does not import."""
        if name in self.builtin:
            return self.load(self.builtin[name])
        plugins = self._plugins()
        if name not in plugins:
            raise UnknownNameError(self.kind, name, [*self.builtin, *also, *plugins])
        try:
            return self.checked(plugins[name].load(), name)
        except (Exception, SystemExit) as error:  # a plug-in may raise anything; only its own users must suffer
            raise UnavailableError(f"plug-in {self.kind} {name!r} cannot be imported: {error!r}") from error

    def names(self) -> list[str]:
        """Every name, built in first; no plug-in is imported."""
        return [*self.builtin, *sorted(self._plugins())]

    def load(self, path: str) -> type[T]:
        """The class at "module:Class"."""
        return self.checked(_attribute(path), path)

    def checked(self, loaded: Any, name: str) -> type[T]:
        """What was loaded as ``name``, if it is such a class; UsageError otherwise."""
        bases: tuple[type[T], ...] = tuple(map(_attribute, self.base))
        if not (isinstance(loaded, type) and issubclass(loaded, bases)):
            wanted = " or ".join(base.replace(":", ".") for base in self.base)
            raise UsageError(f"{self.kind} {name!r} is {loaded!r}, not a subclass of {wanted}")
        return loaded

    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}


def _attribute(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _executed(path: Path, attribute: str, trust: bool) -> Any:
    """What a Python file calls ``attribute``; the file is executed, once it is trusted."""
    if not trust:
        raise UnavailableError(f"{path.name}:{attribute} would execute {path}; give --trust if you trust that file")
    # two files of one name are two modules: a codec's class is looked up there for the file it is made of
    module_name = f"{FILE_MODULE}{path.stem}_{digest_of(str(path))[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"{path} is not a Python file")
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


BUILTIN = {
    "ffmpeg": "bench.adapters.ffmpeg:FFmpegCodec",
    "command": "bench.adapters.command:CommandCodec",
    "neural": "bench.adapters.neural:NeuralCodec",
    "worker": "bench.adapters.worker:WorkerFileCodec",
    "coolchic": "bench.adapters.official.coolchic:CoolChicCodec",
    "dcvc-dc": "bench.adapters.official.dcvc:DcvcDcCodec",
    "dcvc-fm": "bench.adapters.official.dcvc:DcvcFmCodec",
    "dcvc-hem": "bench.adapters.official.dcvc:DcvcHemCodec",
    "dcvc-rt": "bench.adapters.official.dcvc:DcvcRtCodec",
    "dcvc-uf": "bench.adapters.official.dcvc:DcvcUfCodec",
    "ehvc": "bench.adapters.official.dcvc:EhvcCodec",
    "glc-video": "bench.adapters.official.dcvc:GlcVideoCodec",
    "sevc": "bench.adapters.official.dcvc:SevcCodec",
    "yoda": "bench.adapters.official.dcvc:YodaCodec",
    "s2vc-official": "bench.adapters.official.s2vc:S2vcOfficialCodec",
    "actdiff-official": "bench.adapters.official.actdiff_vc:ActDiffOfficialCodec",
    "compressai": "bench.adapters.compressai:CompressaiCodec",
}

ADAPTERS: Registry[BaseCodec] = Registry(
    "adapter", "vcbench.adapters", BUILTIN, ("bench.adapters.base:Codec", "bench.adapters.base:ExternalCodec")
)


def adapter_class(name: str, *, folder: Path | None = None, trust: bool = False) -> type[BaseCodec]:
    """Class of an adapter.

    ``name`` is built in, the name of an entry point, or ``file.py:Class`` relative to ``folder`` (the card's), which
    is executed only when ``trust`` is true. Raises UnknownNameError, or UnavailableError when a plug-in does not
    import.
    """
    if ".py:" not in name:
        return ADAPTERS.find(name)
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
    return ADAPTERS.checked(loaded, name)


def build(card: Card, *, folder: Path | None = None, trust: bool = False, sandbox: Sandbox | None = None) -> BaseCodec:
    """Codec of a card. Raises CardError for settings that its adapter does not take.

    With a ``sandbox``, all of its programs run there, and so does a Python file beside the card, which this process
    does not execute then. A card of a ``folder`` that does not come with vcbench is data: without ``trust`` it runs no
    program of its choice.
    One that is in no file was made by the caller, and is trusted as the caller is.
    """
    if sandbox is not None and trust and folder is not None and ".py:" in card.adapter:
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
    return {name: ADAPTERS.load(path).settings_model for name, path in BUILTIN.items()}


def card_schema() -> dict[str, Any]:
    """JSON Schema of a card, and in ``x-settings`` that of the table ``settings`` for each built-in adapter."""
    models = builtin_settings()
    settings = {name: model.model_json_schema() for name, model in models.items()}
    return {**Card.model_json_schema(), "x-settings": settings}


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
    "pu_psnr": "bench.metrics.hdr:PuPsnr",
    "pu_ssim": "bench.metrics.hdr:PuSsim",
    "wpsnr_y": "bench.metrics.hdr:WpsnrY",
    "wpsnr_u": "bench.metrics.hdr:WpsnrU",
    "wpsnr_v": "bench.metrics.hdr:WpsnrV",
    "deltae100": "bench.metrics.hdr:DeltaE100",
    "deltae_itp": "bench.metrics.hdr:DeltaItp",
    "niqe": "bench.metrics.niqe:Niqe",
    "clipiqa": "bench.metrics.iqa:ClipIqa",
    "musiq": "bench.metrics.iqa:Musiq",
    "ewarp": "bench.metrics.temporal:Ewarp",
    "tof": "bench.metrics.temporal:Tof",
    "tlpips": "bench.metrics.temporal_lpips:Tlpips",
    "flolpips": "bench.metrics.temporal_lpips:FloLpips",
    "speed_qa": "bench.metrics.entropic:SpeedQa",
    "strred": "bench.metrics.entropic:StRred",
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

METRICS: Registry[Metric] = Registry("metric", "vcbench.metrics", BUILTIN_METRICS, ("bench.metrics.base:Metric",))


@cache
def metric_class(name: str) -> type[Metric]:
    """Class of a metric: built in, a variant ("ewarp:spynet"), or a plug-in's entry point.

    Raises UnknownNameError or UnavailableError.
    """
    base, *options = name.split(":")
    if not options or name in BUILTIN_METRICS:
        return _metric_class(name)
    family = METRICS.load(METRIC_FAMILIES[base]) if base in METRIC_FAMILIES else _metric_class(base)
    return family.variant(tuple(options))


def metric_from_file(name: str, *, trust: bool = False) -> type[Metric]:
    """Class of a metric that is not installed, ``path/to/file.py:Class``, so that its author can check it.

    The file is executed only when ``trust`` is true; UnavailableError otherwise, and when it does not import.
    """
    file, _, attribute = name.rpartition(":")
    return METRICS.checked(_executed(Path(file).resolve(), attribute, trust), name)


def _metric_class(name: str) -> type[Metric]:
    if name in METRIC_FAMILIES:
        one = METRICS.load(METRIC_FAMILIES[name]).name
        raise UsageError(f"{name} is a family of metrics; name one, such as {one}")
    return METRICS.find(name, also=(*METRIC_FAMILIES, *SETS))


def metric_names() -> list[str]:
    """Every metric that can be asked for, built in first."""
    return METRICS.names()
