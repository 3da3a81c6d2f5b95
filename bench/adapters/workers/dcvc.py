"""The DCVC family, and codecs built on its code, for vcbench; run by the interpreter of their environment.

Upstream's networks and its writers of units are called frame by frame, in the loop of upstream's test script, so that
one process writes a file and another reads it. Settings: model, checkout, files (image, video), device, intra_period,
threads, and what the model's class reads.
"""

from __future__ import annotations

import importlib
import os
import sys
import zlib
from contextlib import nullcontext
from importlib.metadata import version
from math import ceil
from types import SimpleNamespace
from typing import Any, BinaryIO, Dict, Iterator, List, Tuple  # noqa: UP035 - older interpreters evaluate annotations

Settings = Dict[str, Any]  # noqa: UP006

HIERARCHY = (0, 1, 0, 2, 0, 2, 0, 2)
"""Which quality a P frame has in DCVC-FM, DCVC-RT and GLC, by its place in the group of eight."""


def versions(settings: Settings) -> Dict[str, str]:  # noqa: UP006
    """What runs the networks."""
    return {name: version(name) for name in ("torch", "numpy")}


def encode(job: Any) -> Dict[str, Any]:  # noqa: UP006
    """Write upstream's units of the frames; the bits are those that upstream counts."""
    codec = MODELS[job.settings["model"]]({**job.settings, "rate": int(job.rate)})
    with job.bitstream.open("wb") as file, codec.torch.no_grad():
        bits, intra = codec.write(job, file)
    return {"bits": bits, "notes": {"device": str(codec.device), "intra_frames": intra, **codec.notes()}}


def decode(job: Any) -> Iterator[bytes]:
    """Frames of upstream's units."""
    codec = MODELS[job.settings["model"]]({**job.settings, "rate": 0})  # the stream tells it
    with job.bitstream.open("rb") as file, codec.torch.no_grad():
        yield from codec.read(job, file)


class Model:
    """Upstream's two networks on a device, and what they take for a picture."""

    image, video = "src.models.image_model:IntraNoAR", "src.models.video_model:DMC"
    arguments: Dict[str, Any] = {}  # noqa: UP006, RUF012 - never changed
    alignment = 16
    padding = "replicate"
    stream = "src.utils.stream_helper"
    """Upstream's module that writes and reads units."""

    def __init__(self, settings: Settings) -> None:
        sys.path.insert(0, settings["checkout"])
        os.environ["SUPPRESS_CUSTOM_KERNEL_WARNING"] = "1"
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        import torch

        self.torch, self.settings = torch, settings
        torch.set_num_threads(settings["threads"])
        torch.backends.cudnn.benchmark = False
        torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler, 2 s of CPU
        named = settings["device"]
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if named == "auto" else named)
        if self.device.type == "cpu":
            _without_gpu(torch)
        self.networks = self.loaded(settings["files"])

    def loaded(self, files: Dict[str, str]) -> Tuple[Any, Any]:  # noqa: UP006
        """Networks of I and P frames with their weights, ready to code."""
        return self.load(self.image, files["image"]), self.load(self.video, files["video"])

    @property
    def units(self) -> Any:
        """The module that writes and reads units; to be imported behind the networks."""
        return importlib.import_module(self.stream)

    def load(self, name: str, path: str) -> Any:
        """One network, ready to code."""
        model = _named(name)(**self.arguments)
        model.load_state_dict(self.state(path))
        model = model.to(self.device).eval()
        model.update(force=True)
        return model

    def state(self, path: str) -> Dict[str, Any]:  # noqa: UP006
        """Tensors of a checkpoint by name."""
        # upstream reads a pickle as it is; weights are enough, and execute nothing
        state = self.torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("state_dict", "net", "net_g"):
            state = state.get(wrapper, state)
        return {name[7:] if name.startswith("module.") else name: value for name, value in state.items()}

    def write(self, job: Any, file: BinaryIO) -> Tuple[int, int]:  # noqa: UP006
        """Bits and I frames of what is written."""
        raise NotImplementedError

    def read(self, job: Any, file: BinaryIO) -> Iterator[bytes]:
        """The frames of what was written."""
        raise NotImplementedError

    def is_intra(self, index: int) -> bool:
        """Whether a frame is an I frame."""
        period = self.settings["intra_period"]
        return index == 0 or (period > 0 and index % period == 0)

    def from_rgb(self, rgb: Any) -> Any:
        """What the networks take of an RGB picture."""
        return rgb

    def to_rgb(self, picture: Any) -> Any:
        """RGB of what the networks give."""
        return picture

    def picture(self, job: Any, data: bytes) -> Any:
        """A frame as the networks take it, 1 x 3 x H x W from 0 to 1: YCbCr of a planar one, its chroma repeated."""
        import numpy as np

        samples = np.frombuffer(data, np.uint8)
        self.is_rgb = job.pixels == "rgb24"
        if self.is_rgb:
            planes = samples.reshape(job.height, job.width, 3).transpose(2, 0, 1)
        else:
            y, uv = np.split(samples, [job.height * job.width])
            uv = uv.reshape(2, job.height // 2, job.width // 2).repeat(2, 1).repeat(2, 2)
            planes = np.concatenate([y.reshape(1, job.height, job.width), uv])
        x = self.torch.from_numpy(planes.astype(np.float32) / 255).unsqueeze(0).to(self.device)
        return self.from_rgb(x) if self.is_rgb else x

    def padded(self, x: Any) -> Any:
        """A picture with sides that the networks divide."""
        height, width = x.shape[2:]
        sides = (0, -width % self.alignment, 0, -height % self.alignment)
        return self.torch.nn.functional.pad(x, sides, mode=self.padding)

    def samples(self, job: Any, picture: Any) -> bytes:
        """Frame of what the networks gave, rounded to nearest."""
        import numpy as np

        picture = picture.float()[:, :, : job.height, : job.width].clamp(0, 1)
        if job.pixels == "rgb24":
            parts = [self.to_rgb(picture).clamp(0, 1)[0].permute(1, 2, 0)]
        else:
            parts = [picture[0, 0], self.torch.nn.functional.avg_pool2d(picture[0, 1:], 2)]
        return b"".join(np.rint(part.cpu().numpy() * 255).astype(np.uint8).tobytes() for part in parts)

    def notes(self) -> Dict[str, Any]:  # noqa: UP006
        """What stands with the result: peak memory on a GPU."""
        if self.device.type != "cuda":
            return {}
        return {"gpu_peak_bytes": int(self.torch.cuda.max_memory_allocated(self.device))}


class Streamed(Model):
    """Models of which upstream writes one file: frames, and each parameter set before the first that needs it."""

    delay = 1
    """Frames that are coded together."""

    def code(self, file: BinaryIO, group: List[Any], index: int, sps: Dict[str, Any]) -> int:  # noqa: UP006
        """Write the frames of a group, of which the first has that index; their bits."""
        raise NotImplementedError

    def decoded(self, file: BinaryIO, kind: Any, sps: Dict[str, Any]) -> List[Any]:  # noqa: UP006
        """Pictures of the unit whose header was read."""
        raise NotImplementedError

    def fields(self, index: int) -> Dict[str, Any]:  # noqa: UP006
        """What a parameter set says of a frame beside its size."""
        return {}

    def start(self, width: int, height: int) -> None:
        """Prepare the networks for a video."""

    def write(self, job: Any, file: BinaryIO) -> Tuple[int, int]:  # noqa: UP006
        """Bits and I frames of what is written."""
        known, bits, intra, index = self.units.SPSHelper(), 0, 0, 0
        self.start(job.width, job.height)
        for group in self.groups(job):
            sps = {"sps_id": -1, "height": job.height, "width": job.width, **self.fields(index)}
            sps["sps_id"], is_new = known.get_sps_id(sps)
            if is_new:
                bits += 8 * self.units.write_sps(file, sps)
            bits += self.code(file, group, index, sps)
            intra += self.is_intra(index)
            index += len(group)
        return bits, intra

    def groups(self, job: Any) -> Iterator[List[Any]]:  # noqa: UP006
        """The pictures in the groups that they are coded in; an I frame is alone."""
        group: List[Any] = []  # noqa: UP006
        for index, data in enumerate(job.read_frames()):
            group.append(self.picture(job, data))
            if len(group) == self.delay or self.is_intra(index):
                yield group
                group = []
        if group:
            yield group

    def read(self, job: Any, file: BinaryIO) -> Iterator[bytes]:
        """Frames up to the end of the file."""
        known, given = self.units.SPSHelper(), 0
        end = job.bitstream.stat().st_size
        self.start(job.width, job.height)
        while file.tell() < end:
            header = self.units.read_header(file)
            kind = header["nal_type"]
            if kind == self.units.NalType.NAL_SPS:
                known.add_sps_by_id(self.units.read_sps_remaining(file, header["sps_id"]))
                continue
            if kind not in {self.units.NalType.NAL_I, self.units.NalType.NAL_P}:
                raise ValueError(f"{job.bitstream.name}: a unit of type {kind!r}, which no encoder here writes")
            sps = known.get_sps_by_id(header["sps_id"])
            if sps is None or (not given and kind != self.units.NalType.NAL_I):
                raise ValueError(f"{job.bitstream.name}: begins with no I frame and its parameters")
            for picture in self.decoded(file, kind, sps)[: job.frames - given]:
                given += 1
                yield self.samples(job, picture)


class Fm(Streamed):
    """DCVC-FM. Settings: reset_interval, rate_gop_size."""

    image = "src.models.image_model:DMCI"
    arguments = {"inplace": True}  # noqa: RUF012

    refresh = 3
    """The fa_idx of upstream's streams that says: forget the reference features."""

    def from_rgb(self, rgb: Any) -> Any:
        import numpy as np

        convert = importlib.import_module("src.transforms.functional").rgb_to_ycbcr444
        yuv = np.concatenate(convert(rgb[0].cpu().numpy())).astype(np.float32)
        return self.torch.from_numpy(yuv).unsqueeze(0).to(self.device)

    def to_rgb(self, picture: Any) -> Any:
        yuv = picture[0].cpu().numpy()
        rgb = importlib.import_module("src.transforms.functional").ycbcr444_to_rgb(yuv[:1], yuv[1:])
        return self.torch.from_numpy(rgb).unsqueeze(0)

    def start(self, width: int, height: int) -> None:
        self.kept_state: Dict[str, Any] = {}  # noqa: UP006

    def fields(self, index: int) -> Dict[str, Any]:  # noqa: UP006
        interval = self.settings["reset_interval"]
        if self.is_intra(index):
            adaptor = 0
        elif interval > 0 and index % interval == 1:
            adaptor = self.refresh
        else:
            adaptor = HIERARCHY[index % self.settings["rate_gop_size"]]
        return {"qp": self.settings["rate"], "fa_idx": adaptor}

    def code(self, file: BinaryIO, group: List[Any], index: int, sps: Dict[str, Any]) -> int:  # noqa: UP006
        x, adaptor, quality = self.padded(group[0]), sps["fa_idx"], sps["qp"]
        image, video = self.networks
        if self.is_intra(index):
            coded = image.encode(x, quality, sps["sps_id"], file)
            self.kept_state = self.reference(coded["x_hat"])
        else:
            self.refreshed(adaptor)
            coded = video.encode(x, self.kept_state, quality, adaptor, sps["sps_id"], file)
            self.kept_state = coded["dpb"]
        return int(coded["bit"])

    def decoded(self, file: BinaryIO, kind: Any, sps: Dict[str, Any]) -> List[Any]:  # noqa: UP006
        payload = self.units.read_ip_remaining(file)
        image, video = self.networks
        if kind == self.units.NalType.NAL_I:
            self.kept_state = self.reference(image.decompress(payload, sps)["x_hat"])
        else:
            self.refreshed(sps["fa_idx"])
            self.kept_state = video.decompress(payload, self.kept_state, sps)["dpb"]
        return [self.kept_state["ref_frame"]]

    def refreshed(self, adaptor: int) -> None:
        """Forget the reference features where upstream's stream says so."""
        if adaptor == self.refresh:
            self.kept_state["ref_feature"] = None

    @staticmethod
    def reference(picture: Any) -> Dict[str, Any]:  # noqa: UP006
        """State after an I frame: its picture, and nothing learned from P frames yet."""
        return {"ref_frame": picture, **dict.fromkeys(("ref_feature", "ref_mv_feature", "ref_y", "ref_mv_y"))}


class Rt(Streamed):
    """DCVC-RT, in half precision as upstream runs it. Settings: reset_interval, skip_threshold."""

    image = "src.models.image_model:DMCI"
    large = 1280 * 720
    """Pictures with more pixels are coded by two entropy coders."""

    def load(self, name: str, path: str) -> Any:
        model = _named(name)()
        model.load_state_dict(self.state(path))
        model = model.to(self.device).eval()
        model.update(self.settings["skip_threshold"])
        return model.half()

    def from_rgb(self, rgb: Any) -> Any:
        return importlib.import_module("src.utils.transforms").rgb2ycbcr(rgb)

    def to_rgb(self, picture: Any) -> Any:
        return importlib.import_module("src.utils.transforms").ycbcr2rgb(picture)

    def start(self, width: int, height: int) -> None:
        self.two_coders = width * height > self.large
        self.last_quality = 0
        for network in self.networks:
            network.set_use_two_entropy_coders(self.two_coders)
        self.networks[1].set_curr_poc(0)

    def fields(self, index: int) -> Dict[str, Any]:  # noqa: UP006
        interval = self.settings["reset_interval"]
        is_reset = not self.is_intra(index) and interval > 0 and index % interval == 1
        return {"ec_part": int(self.two_coders), "use_ada_i": int(is_reset)}

    def code(self, file: BinaryIO, group: List[Any], index: int, sps: Dict[str, Any]) -> int:  # noqa: UP006
        x, is_intra = self.padded(group[0].half()), self.is_intra(index)
        image, video = self.networks
        quality = self.settings["rate"]
        if is_intra:
            coded = image.compress(x, quality)
            video.clear_dpb()
            video.add_ref_frame(None, coded["x_hat"])
        else:
            if sps["use_ada_i"]:
                video.prepare_feature_adaptor_i(self.last_quality)
            quality = video.shift_qp(quality, HIERARCHY[index % 8])
            coded = video.compress(x, quality)
            self.last_quality = quality
        return 8 * int(self.units.write_ip(file, is_intra, sps["sps_id"], quality, coded["bit_stream"]))

    def decoded(self, file: BinaryIO, kind: Any, sps: Dict[str, Any]) -> List[Any]:  # noqa: UP006
        quality, payload = self.units.read_ip_remaining(file)
        image, video = self.networks
        if kind == self.units.NalType.NAL_I:
            found = image.decompress(payload, sps, quality)
            video.clear_dpb()
            video.add_ref_frame(None, found["x_hat"])
        else:
            if sps["use_ada_i"]:
                video.reset_ref_feature()
            found = video.decompress(payload, sps, quality)
        return [found["x_hat"]]


class Yoda(Rt):
    """YODA: the coder of DCVC-RT on the latents of a diffusion model, which makes the pictures; RGB from -1 to 1.

    Settings: sana (folder of the diffusion model), reset_interval.
    """

    image, video = "src.YODA_INTRA:Yoda_Intra", "src.YODA:Yoda"
    stream = "src.rt_modules.utils.stream_helper"
    alignment = 64

    def loaded(self, files: Dict[str, str]) -> Tuple[Any, Any]:  # noqa: UP006
        self.torch.set_deterministic_debug_mode("warn")  # as upstream has it
        self.torch.manual_seed(42)
        return super().loaded(files)

    def load(self, name: str, path: str) -> Any:
        files = self.settings["files"]
        told = {
            "pretrained_weights": files["video"], "pretrained_i_weights": files["image"],
            "prompt_embeds_path": files["prompt_embeds"], "prompt_attention_mask_path": files["prompt_attention_mask"],
            "lora_rank_transformer": 72, "lora_rank_transformer_video": 72, "timestep": 100, "timestep_i": 999,
        }  # fmt: skip
        model = _named(name)(sd_path=self.settings["sana"], args=SimpleNamespace(**told)).to(self.device)
        model.codec.update()
        return model.eval()

    def from_rgb(self, rgb: Any) -> Any:
        return rgb

    def to_rgb(self, picture: Any) -> Any:
        return picture

    def start(self, width: int, height: int) -> None:
        self.two_coders = width * height > self.large
        for network in self.networks:
            network.codec.set_use_two_entropy_coders(self.two_coders)
        self.networks[1].codec.set_curr_poc(0)

    def refer(self, found: Dict[str, Any]) -> None:  # noqa: UP006
        """Forget what was coded before a picture."""
        coder = self.networks[1].codec
        coder.clear_dpb()
        coder.add_ref_frame(None, None, found["x_denoised"])

    def code(self, file: BinaryIO, group: List[Any], index: int, sps: Dict[str, Any]) -> int:  # noqa: UP006
        x, is_intra = self.padded(group[0]) * 2 - 1, self.is_intra(index)
        image, video = self.networks
        if is_intra:
            self.last = image.compress(x)
            self.refer(self.last)
        else:
            if sps["use_ada_i"]:
                self.refer(self.last)
            self.last = video.compress(x, self.last["x_hat"].clamp(-1, 1))
        return 8 * int(self.units.write_ip(file, is_intra, sps["sps_id"], 0, self.last["bit_stream"]))

    def decoded(self, file: BinaryIO, kind: Any, sps: Dict[str, Any]) -> List[Any]:  # noqa: UP006
        _, payload = self.units.read_ip_remaining(file)
        image, video = self.networks
        if kind == self.units.NalType.NAL_I:
            self.last = image.decompress(payload, sps)
            self.refer(self.last)
        else:
            if sps["use_ada_i"]:
                self.refer(self.last)
            self.last = video.decompress(payload, sps, self.last["x_hat"].clamp(-1, 1))
        return [self.last["x_hat"] / 2 + 0.5]


class Uf(Streamed):
    """DCVC-UF: frames in groups, on a GPU alone. Settings: structure, reset_interval, skip_threshold."""

    image = "src.models.image_model:DMCI"

    def loaded(self, files: Dict[str, str]) -> Tuple[Any, Any]:  # noqa: UP006
        torch, structure = self.torch, self.settings["structure"]
        if self.device.type != "cuda":
            raise ImportError("DCVC-UF runs on an NVIDIA GPU alone, and torch finds none; set VCBENCH_DEVICE to one")
        torch.cuda.set_stream(torch.cuda.Stream(self.device, 0))  # its graphs of kernels take no default stream
        module = importlib.import_module(f"src.models.video_model_{'ld' if structure == 'ld' else 'ht'}")
        self.delay = module.g_frame_delay
        kinds = importlib.import_module("src.utils.common").ModelStructure
        self.arguments = {} if structure == "ld" else {"model_structure": kinds(structure)}
        self.video = f"{module.__name__}:DMC"
        return super().loaded(files)

    def load(self, name: str, path: str) -> Any:
        model = _named(name)(**(self.arguments if name == self.video else {})).eval()
        model.load_state_dict(self.state(path))
        model.update(self.settings["skip_threshold"])
        return model.half().to(self.device).to(memory_format=self.torch.channels_last)

    def from_rgb(self, rgb: Any) -> Any:
        return importlib.import_module("src.utils.transforms").rgb2ycbcr(rgb)

    def to_rgb(self, picture: Any) -> Any:
        return importlib.import_module("src.utils.transforms").ycbcr2rgb(picture)

    def is_intra(self, index: int) -> bool:
        """A period begins behind its I frame, so that groups fill it."""
        period = self.settings["intra_period"]
        return index == 0 or period == 1 or (period > 1 and index != 1 and index % period == 1)

    def code(self, file: BinaryIO, group: List[Any], index: int, sps: Dict[str, Any]) -> int:  # noqa: UP006
        is_intra, interval, quality = self.is_intra(index), self.settings["reset_interval"], self.settings["rate"]
        if not is_intra:
            # the last group of a video is filled up
            group = [*group, *[group[-1]] * (self.delay - len(group))]
        # upstream halves levels of 255, of RGB the quotient, and centres them
        x = self.torch.cat(group, dim=1)
        x = (x.half() if self.is_rgb else (x * 255).round().half() / 255.0) - 0.5
        x = x.to(memory_format=self.torch.channels_last)
        right, below = -sps["width"] % 16, -sps["height"] % 16
        image, video = self.networks
        if is_intra:
            is_reset = 0
            coded = image.compress(x, quality, below, right)
            video.clear_dpb()
            video.add_ref_feature_from_frame(coded["x_hat"])
        else:
            is_reset = int(interval > 0 and (index + self.delay) % interval == 1)
            coded = video.compress(x, quality, is_reset, below, right)
        written = self.units.write_ip(
            file, is_intra, sps["sps_id"], quality, coded["ec_parallel"], is_reset, coded["bit_stream"]
        )
        return 8 * int(written)

    def decoded(self, file: BinaryIO, kind: Any, sps: Dict[str, Any]) -> List[Any]:  # noqa: UP006
        quality, parts, is_reset, payload = self.units.read_ip_remaining(file)
        image, video = self.networks
        if kind == self.units.NalType.NAL_I:
            found = image.decompress(payload, sps, quality, parts)["x_hat"]
            video.clear_dpb()
            video.add_ref_feature_from_frame(found, apply_feature_adaptor=False)
        else:
            found = video.decompress(payload, sps, quality, parts, is_reset)["x_hat"]
        return [picture + 0.5 for picture in (found if isinstance(found, list) else [found])]


class Filed(Model):
    """Models of which upstream writes a file a frame; a stream is those files one after the other."""

    lengths: Dict[bool, Tuple[int, ...]] = {True: (9,), False: (2,)}  # noqa: UP006, RUF012
    """By whether a frame is an I frame: bytes before the length (4 bytes) of each of its parts."""

    refresh = 0
    """Reference features are forgotten every so many frames; 0: never."""

    def code(self, x: Any, index: int, part: str) -> None:
        """Write a frame's file."""
        raise NotImplementedError

    def decoded(self, part: str, index: int, width: int, height: int) -> Any:
        """Picture of a frame's file."""
        raise NotImplementedError

    def header(self, job: Any) -> bytes:
        """What upstream writes beside the frames."""
        return b""

    def after_header(self, job: Any, file: BinaryIO) -> None:
        """Read it."""

    def write(self, job: Any, file: BinaryIO) -> Tuple[int, int]:  # noqa: UP006
        """Bits and I frames of what is written."""
        part = job.scratch / "frame.bin"
        bits = 8 * file.write(self.header(job))
        self.size = job.width, job.height
        for index, (x, self.following) in enumerate(_pairs(self.picture(job, data) for data in job.read_frames())):
            self.code(x, index, str(part))
            bits += 8 * file.write(part.read_bytes())
        return bits, sum(map(self.is_intra, range(job.frames)))

    def read(self, job: Any, file: BinaryIO) -> Iterator[bytes]:
        """Frames, as many as were coded."""
        part = job.scratch / "frame.bin"
        self.after_header(job, file)
        for index in range(job.frames):
            part.write_bytes(b"".join(self.unit(file, before) for before in self.lengths[self.is_intra(index)]))
            yield self.samples(job, self.decoded(str(part), index, job.width, job.height))

    @staticmethod
    def unit(file: BinaryIO, before: int) -> bytes:
        """Bytes up to the end of a part whose length is in the four behind the first."""
        head = file.read(before + 4)
        if len(head) < before + 4:
            raise ValueError("the stream ends before its last frame")
        return head + file.read(int.from_bytes(head[before:], "big"))


class Dc(Filed):
    """DCVC-DC."""

    arguments = {"inplace": True}  # noqa: RUF012
    anchors = (0, 21, 42, 63)
    """The q indexes that stand for the four quality steps of a checkpoint; upstream interpolates the others."""

    kept: Tuple[str, ...] = ("ref_feature", "ref_mv_feature", "ref_y", "ref_mv_y")  # noqa: UP006

    @property
    def quality(self) -> Tuple[Any, ...]:  # noqa: UP006
        """Whether the checkpoint has the quality step, and which one it is."""
        rate = self.settings["rate"]
        return (True, self.anchors.index(rate)) if rate in self.anchors else (False, rate)

    def reference(self, picture: Any) -> Dict[str, Any]:  # noqa: UP006
        """State after an I frame."""
        return {"ref_frame": picture, **dict.fromkeys(self.kept)}

    def refreshed(self, index: int) -> None:
        """Forget what upstream forgets before a P frame."""

    def code(self, x: Any, index: int, part: str) -> None:
        image, video = self.networks
        width, height = self.size
        size = {"pic_height": height, "pic_width": width}
        if self.is_intra(index):
            coded = image.encode_decode(self.padded(x), *self.quality, part, **size)
            self.kept_state = self.reference(coded["x_hat"])
        else:
            self.refreshed(index)
            steps, how = self.how(index)
            coded = video.encode_decode(self.padded(x), self.kept_state, *steps, output_path=part, **how, **size)
            self.kept_state = coded["dpb"]

    def how(self, index: int) -> Tuple[Tuple[Any, ...], Dict[str, Any]]:  # noqa: UP006
        """What an encoder of P frames gets beside the frame, by position and by name: quality, and where it stands."""
        return self.quality, {"frame_idx": index % 4}

    def scaled(self, values: List[Any]) -> List[Any]:  # noqa: UP006
        """What a decoder takes of the numbers before the payload of a frame."""
        return values

    def decoded(self, part: str, index: int, width: int, height: int) -> Any:
        image, video = self.networks
        if self.is_intra(index):
            _, _, *values, payload = self.units.decode_i(part)
            found = image.decompress(payload, height, width, *self.scaled(values))
            self.kept_state = self.reference(found["x_hat"])
        else:
            self.refreshed(index)
            *values, payload = self.units.decode_p(part)
            found = video.decompress(self.kept_state, payload, height, width, *self.scaled(values))
            self.kept_state = found["dpb"]
        return self.kept_state["ref_frame"]

    def notes(self) -> Dict[str, Any]:  # noqa: UP006
        return {**super().notes(), "encode_time": "of upstream's encode_decode, which decodes each frame too"}


class Ehvc(Dc):
    """EHVC (NEVC-1.0), whose encoder looks a frame ahead, with the four rates of its checkpoint.

    Settings: reset_interval.
    """

    kept = (*Dc.kept, "key_feature")

    @property
    def quality(self) -> Tuple[Any, ...]:  # noqa: UP006
        return True, self.settings["rate"]

    def reference(self, picture: Any) -> Dict[str, Any]:  # noqa: UP006
        return {**super().reference(picture), "key_mvs": []}

    def refreshed(self, index: int) -> None:
        interval = self.settings["reset_interval"]
        if interval > 0 and index % interval == 1:
            self.kept_state.update(ref_feature=None, key_feature=None, key_mvs=[])

    def how(self, index: int) -> Tuple[Tuple[Any, ...], Dict[str, Any]]:  # noqa: UP006
        steps, how = super().how(index)
        return steps, {**how, "x_next": None if self.following is None else self.padded(self.following)}


class Hem(Dc):
    """DCVC-HEM: pictures with black beside and below them up to multiples of 64."""

    arguments: Dict[str, Any] = {}  # noqa: UP006, RUF012
    alignment = 64
    padding = "constant"
    lengths = {True: (10,), False: (4,)}  # noqa: RUF012
    kept = ("ref_feature", "ref_y", "ref_mv_y")

    def loaded(self, files: Dict[str, str]) -> Tuple[Any, Any]:  # noqa: UP006
        networks = super().loaded(files)
        image, video = (self.state(files[name]) for name in ("image", "video"))
        self.scales = [self.scale(state[name]) for state, name in (
            (image, "q_scale"), (video, "mv_y_q_scale"), (video, "y_q_scale"),
        )]  # fmt: skip
        return networks

    def scale(self, steps: Any) -> float:
        """A quality step of the four in a checkpoint, or, by logarithm, of 64 from the first to the last of them."""
        import numpy as np

        steps, rate = steps.reshape(-1), self.settings["rate"]
        if rate in self.anchors:
            return float(steps[self.anchors.index(rate)])
        return float(np.exp(np.linspace(np.log(float(steps[0])), np.log(float(steps[-1])), 64))[rate])

    @property
    def quality(self) -> Tuple[Any, ...]:  # noqa: UP006
        return (self.scales[0],)

    def how(self, index: int) -> Tuple[Tuple[Any, ...], Dict[str, Any]]:  # noqa: UP006
        return (), {"mv_y_q_scale": self.scales[1], "y_q_scale": self.scales[2]}

    def scaled(self, values: List[Any]) -> List[Any]:  # noqa: UP006
        return [value / 100 for value in values]


class Sevc(Filed):
    """SEVC, both of its layers. Settings: reset_interval."""

    video = "src.models.SEVC_main_model:DMC"
    lengths = {True: (0,), False: (0, 0)}  # noqa: RUF012
    head_bytes = 20

    def load(self, name: str, path: str) -> Any:
        # upstream's encoder has it so, and it changes the bits
        self.arguments = {"inplace": True} if name == self.video else {}
        return super().load(name, path)

    def header(self, job: Any) -> bytes:
        """Upstream's headers.bin: intra period, height, width, q index, not the lower layer alone."""
        values = (self.settings["intra_period"], job.height, job.width, self.settings["rate"], 0)
        return b"".join(int(value).to_bytes(4, "big", signed=True) for value in values)

    def after_header(self, job: Any, file: BinaryIO) -> None:
        self.settings["rate"] = int.from_bytes(file.read(self.head_bytes)[12:16], "big")

    def refreshed(self, index: int) -> None:
        """Forget the reference features every so many frames."""
        if index % self.settings["reset_interval"] == 1:
            self.layers[0]["ref_feature"] = None
            self.layers[1]["ref_feature"] = None

    def code(self, x: Any, index: int, part: str) -> None:
        image, video = self.networks
        if self.is_intra(index):
            *self.layers, payload = image.encode_one_frame(x, self.settings["rate"])
            self.units.encode_i(payload, part)
        else:
            self.refreshed(index)
            *self.layers, payload = video.encode_one_frame(x, *self.layers, self.settings["rate"], index)
            self.units.encode_p_two_layer(payload, part)

    def decoded(self, part: str, index: int, width: int, height: int) -> Any:
        image, video = self.networks
        rate = self.settings["rate"]
        if self.is_intra(index):
            self.layers = [*image.decode_one_frame(self.units.decode_i(part), height, width, rate)]
        else:
            self.refreshed(index)
            payload = self.units.decode_p_two_layer(part)
            self.layers = [*video.decode_one_frame(payload, height, width, *self.layers, rate, index)]
        return self.layers[1]["ref_frame"]


class Glc(Model):
    """GLC-Video, which estimates its bits and writes none; the file holds the pictures that it gives.

    Settings: reset_interval.
    """

    image, video = "src.models.image_model:GLC_Image", "src.models.video_model:GLC_Video"
    alignment = 64

    def load(self, name: str, path: str) -> Any:
        is_image = name == self.image
        model = _named(name)(**({} if is_image else {"hyper_K": 16}))
        model.load_state_dict(self.state(path), strict=is_image)
        if is_image:
            model.interpolate_q()
        return model.to(self.device).eval()

    def write(self, job: Any, file: BinaryIO) -> Tuple[int, int]:  # noqa: UP006
        """Estimated bits, and I frames."""
        image, video = self.networks
        bits, state, rate, interval = 0.0, {}, self.settings["rate"], self.settings["reset_interval"]
        for index, data in enumerate(job.read_frames()):
            x = self.padded(self.picture(job, data)) * 2 - 1
            if self.is_intra(index):
                found = image.test(x, rate)
                state = {"ref_frame": found["x_hat"], "ref_latent": found["ref_latent"], "ref_y": None}
            else:
                if interval > 0 and index % interval == 1:
                    state["ref_y"] = None
                found = video.test(x, state, rate, fa_idx=HIERARCHY[index % 8])
                state = found["dpb"]
            bits += float(found["bit"])
            packed = zlib.compress(self.samples(job, state["ref_frame"] / 2 + 0.5), 1)
            file.write(len(packed).to_bytes(4, "big") + packed)
        return ceil(bits), sum(map(self.is_intra, range(job.frames)))

    def read(self, job: Any, file: BinaryIO) -> Iterator[bytes]:
        """The pictures that the encoder gave."""
        while length := file.read(4):
            yield zlib.decompress(file.read(int.from_bytes(length, "big")))


MODELS = {
    "fm": Fm, "yoda": Yoda, "rt": Rt, "uf": Uf, "dc": Dc, "hem": Hem, "ehvc": Ehvc, "sevc": Sevc, "glc": Glc,
}  # fmt: skip


def _named(name: str) -> Any:
    """A class of upstream's, "module:Class"."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _pairs(pictures: Iterator[Any]) -> Iterator[Tuple[Any, Any]]:  # noqa: UP006
    """Each picture and the one behind it; None behind the last."""
    first = next(pictures, None)
    while first is not None:
        second = next(pictures, None)
        yield first, second
        first = second


def _without_gpu(torch: Any) -> None:
    """Leave out what only waits for a GPU, or orders its work: upstream does so even where there is none."""

    class Nothing:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def record(self, *_: Any) -> None:
            pass

        def wait(self, *_: Any) -> None:
            pass

    torch.cuda.synchronize = lambda device=None: None
    torch.cuda.Event = torch.cuda.Stream = Nothing
    torch.cuda.stream = lambda stream: nullcontext()
