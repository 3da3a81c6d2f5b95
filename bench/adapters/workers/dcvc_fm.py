"""DCVC-FM for vcbench, run by the interpreter of its environment.

Upstream's networks and stream format are called frame by frame, so that one process writes a file and another reads it.
The loop follows upstream's ``run_one_point_with_stream``: one SPS where size, q index or feature adaptor are new, then
the frame. Settings: checkout, files (image, video), device, intra_period, reset_interval, rate_gop_size, threads.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import version
from typing import Any, Dict, Iterator, Tuple  # noqa: UP035 - older interpreters evaluate some annotations

FEATURE_ADAPTORS = (0, 1, 0, 2, 0, 2, 0, 2)
"""Which one a P frame takes, by its place in the group of upstream's hierarchical quality."""

REFRESH = 3
"""The fa_idx of upstream's streams that says: forget the reference features."""

ALIGNMENT = 16


def versions(settings: Dict[str, Any]) -> Dict[str, str]:  # noqa: UP006
    """What runs the networks."""
    return {name: version(name) for name in ("torch", "numpy")}


class Codec:
    """Upstream's two networks on a device, ready to code."""

    def __init__(self, settings: Dict[str, Any]) -> None:  # noqa: UP006
        sys.path.insert(0, settings["checkout"])
        os.environ["SUPPRESS_CUSTOM_KERNEL_WARNING"] = "1"
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        import torch

        self.torch = torch
        self.stream = importlib.import_module("src.utils.stream_helper")
        self.colour = importlib.import_module("src.transforms.functional")
        torch.set_num_threads(settings["threads"])
        torch.backends.cudnn.benchmark = False
        torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler, 2 s of CPU
        named = settings["device"]
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if named == "auto" else named)
        if self.device.type == "cpu":
            # upstream's P frames wait for a GPU, even for one that is not there
            torch.cuda.synchronize = lambda device=None: None
        files = settings["files"]
        self.image = self._loaded(importlib.import_module("src.models.image_model").DMCI, files["image"])
        self.video = self._loaded(importlib.import_module("src.models.video_model").DMC, files["video"])

    def _loaded(self, network: Any, path: str) -> Any:
        # upstream reads a pickle as it is; weights are enough, and execute nothing
        state = self.torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("state_dict", "net"):
            state = state.get(wrapper, state)
        state = {name[7:] if name.startswith("module.") else name: value for name, value in state.items()}
        model = network(inplace=True)
        model.load_state_dict(state)
        model = model.to(self.device).eval()
        model.update(force=True)
        return model

    def padding(self, job: Any) -> Tuple[int, int]:  # noqa: UP006
        """Columns to the right and rows below."""
        return -job.width % ALIGNMENT, -job.height % ALIGNMENT

    def picture(self, job: Any, data: bytes) -> Any:
        """YCbCr 4:4:4 of a frame as the networks take it, 0 to 1, padded."""
        import numpy as np

        samples = np.frombuffer(data, np.uint8)
        if job.pixels == "rgb24":
            rgb = samples.reshape(job.height, job.width, 3).transpose(2, 0, 1).astype(np.float32) / 255
            yuv = np.concatenate(self.colour.rgb_to_ycbcr444(rgb))
        else:
            luma = job.height * job.width
            y = samples[:luma].reshape(1, job.height, job.width).astype(np.float32) / 255
            uv = samples[luma:].reshape(2, job.height // 2, job.width // 2).astype(np.float32) / 255
            yuv = self.colour.ycbcr420_to_444(y, uv)
        x = self.torch.from_numpy(yuv.astype(np.float32)).unsqueeze(0).to(self.device)
        right, below = self.padding(job)
        return self.torch.nn.functional.pad(x, (0, right, 0, below), mode="replicate")

    def samples(self, job: Any, picture: Any) -> bytes:
        """Frame of a decoded picture, rounded as upstream's writers do."""
        import numpy as np

        yuv = picture.clamp(0, 1)[0, :, : job.height, : job.width].cpu().numpy()
        if job.pixels == "rgb24":
            rgb = self.colour.ycbcr444_to_rgb(yuv[:1], yuv[1:])
            parts = [rgb.transpose(1, 2, 0)]
        else:
            parts = self.colour.ycbcr444_to_420(yuv)
        return b"".join(np.clip(np.rint(part * 255), 0, 255).astype(np.uint8).tobytes() for part in parts)

    def peak_gpu_bytes(self) -> Dict[str, int]:  # noqa: UP006
        """Peak memory on the GPU, nothing on a CPU."""
        if self.device.type != "cuda":
            return {}
        return {"gpu_peak_bytes": int(self.torch.cuda.max_memory_allocated(self.device))}


def encode(job: Any) -> Dict[str, Any]:  # noqa: UP006
    """Write upstream's stream of the frames; the bits are those that upstream counts."""
    codec = Codec(job.settings)
    q_index, period = int(job.rate), job.settings["intra_period"]
    known = codec.stream.SPSHelper()
    bits, intra = 0, 0
    state: Dict[str, Any] = {}  # noqa: UP006
    with job.bitstream.open("wb") as file, codec.torch.no_grad():
        for index, data in enumerate(job.read_frames()):
            x = codec.picture(job, data)
            is_intra = index == 0 or (period > 0 and index % period == 0)
            adaptor = 0 if is_intra else _adaptor(index, job.settings)
            sps = {"sps_id": -1, "height": job.height, "width": job.width, "qp": q_index, "fa_idx": adaptor}
            sps["sps_id"], is_new = known.get_sps_id(sps)
            if is_new:
                bits += 8 * codec.stream.write_sps(file, sps)
            if is_intra:
                coded = codec.image.encode(x, q_index, sps["sps_id"], file)
                state = _reference(coded["x_hat"])
                intra += 1
            else:
                if adaptor == REFRESH:
                    state["ref_feature"] = None
                coded = codec.video.encode(x, state, q_index, adaptor, sps["sps_id"], file)
                state = coded["dpb"]
            bits += int(coded["bit"])
    notes = {"device": str(codec.device), "intra_frames": intra, **codec.peak_gpu_bytes()}
    return {"bits": bits, "notes": notes}


def decode(job: Any) -> Iterator[bytes]:
    """Frames of upstream's stream, up to its end."""
    codec = Codec(job.settings)
    stream, known = codec.stream, codec.stream.SPSHelper()
    state: Dict[str, Any] = {}  # noqa: UP006
    end = job.bitstream.stat().st_size
    with job.bitstream.open("rb") as file, codec.torch.no_grad():
        while file.tell() < end:
            header = stream.read_header(file)
            kind = header["nal_type"]
            if kind == stream.NalType.NAL_SPS:
                known.add_sps_by_id(stream.read_sps_remaining(file, header["sps_id"]))
                continue
            if kind not in {stream.NalType.NAL_I, stream.NalType.NAL_P}:
                raise ValueError(f"{job.bitstream.name}: a unit of type {kind!r}, which no encoder here writes")
            sps = known.get_sps_by_id(header["sps_id"])
            if sps is None or (not state and kind != stream.NalType.NAL_I):
                raise ValueError(f"{job.bitstream.name}: begins with no I frame and its parameters")
            payload = stream.read_ip_remaining(file)
            if kind == stream.NalType.NAL_I:
                state = _reference(codec.image.decompress(payload, sps)["x_hat"])
            else:
                if sps["fa_idx"] == REFRESH:
                    state["ref_feature"] = None
                state = codec.video.decompress(payload, state, sps)["dpb"]
            yield codec.samples(job, state["ref_frame"])


def _adaptor(index: int, settings: Dict[str, Any]) -> int:  # noqa: UP006
    interval = settings["reset_interval"]
    if interval > 0 and index % interval == 1:
        return REFRESH
    return FEATURE_ADAPTORS[index % settings["rate_gop_size"]]


def _reference(picture: Any) -> Dict[str, Any]:  # noqa: UP006
    """State after an I frame: its picture, and nothing learned from P frames yet."""
    return {"ref_frame": picture, **dict.fromkeys(("ref_feature", "ref_mv_feature", "ref_y", "ref_mv_y"))}
