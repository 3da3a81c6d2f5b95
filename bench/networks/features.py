"""Networks whose features stand for a picture or a clip in distances between sets of them; imports torch."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from bench.networks.device import device
from bench.video.colour import rgb_of
from bench.video.frame import Frame
from bench.weights import files as weights

BATCH = 8
"""Pictures at once: how much memory a frame of many patches takes."""

INCEPTION_SIDE = 299
I3D_SIDE = 224


def pictures(frame: Frame, patch: int | None = None) -> torch.Tensor:
    """A frame, or its square patches, as float32 N x 3 x H x W of RGB with white 255; deeper samples keep fractions.

    Patches are of Mentzer et al. 2020 (FID/256): a grid from the top left corner, then one shifted by half a patch
    right and down where both sides hold one and a half patches, as in NeuralCompression's and S2VC's code; what is left
    at the right and below is not seen.
    """
    samples = torch.from_numpy(rgb_of(frame)).to(device())
    whole = samples.to(torch.float32).permute(2, 0, 1).unsqueeze(0) * (255 / frame.format.peak)
    if patch is None:
        return whole
    starts = (0, patch // 2) if min(whole.shape[2:]) >= patch * 3 // 2 else (0,)
    return torch.cat([_grid(whole[..., start:, start:], patch) for start in starts])


def _grid(whole: torch.Tensor, patch: int) -> torch.Tensor:
    tiles = whole.unfold(2, patch, patch).unfold(3, patch, patch)
    return tiles.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, patch, patch)


def frame_of_clip(frame: Frame) -> torch.Tensor:
    """A frame as I3D takes it in a clip: float32 1 x 3 x 224 x 224 of RGB in -1 to 1, resized whatever its shape."""
    return _resized_like_tensorflow(pictures(frame), I3D_SIDE) / 127.5 - 1


def clip_of(frames: Sequence[torch.Tensor]) -> torch.Tensor:
    """Frames of ``frame_of_clip`` as one clip 1 x 3 x T x 224 x 224."""
    return torch.stack(list(frames), dim=2)


def _resized_like_tensorflow(shown: torch.Tensor, side: int) -> torch.Tensor:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    return interpolate_bilinear_2d_like_tensorflow1x(shown, (side, side), align_corners=False)


def extract(name: str, shown: torch.Tensor) -> npt.NDArray[np.float32]:
    """Features float32 N x D of N pictures or clips, by the network of a name (see ``_BUILDERS``).

    Raises UnavailableError where its weights are not here.
    """
    weight_file, build = _BUILDERS[name]
    network = _built(build, weight_file, weights.sha256(weight_file))
    with torch.inference_mode():
        features: npt.NDArray[np.float32] = torch.cat([network(batch) for batch in shown.split(BATCH)]).cpu().numpy()
    return features


@cache
def _built(build: Callable[[dict[str, torch.Tensor]], nn.Module], weight_file: str, sha256: str) -> nn.Module:
    return build(weights.load(weight_file)).eval().requires_grad_(False).to(device())


class _Inception(nn.Module):
    """Inception v3 up to its last pooling, 2048 features; pictures of any size are resized to 299 x 299."""

    def __init__(self, state: dict[str, torch.Tensor], *, antialias: bool) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        super().__init__()
        # the library would download the file, or unpickle it with all it can execute; this copy holds tensors alone
        copy = io.BytesIO()
        torch.save(state, copy)
        copy.seek(0)
        published = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], copy)
        *up_to_pooling, _classifier = published.children()
        self.layers = nn.Sequential(*up_to_pooling, nn.Flatten())
        self.antialias = antialias

    def forward(self, shown: torch.Tensor) -> torch.Tensor:
        return self.layers((self._resized(shown) - 128) / 128)

    def _resized(self, shown: torch.Tensor) -> torch.Tensor:
        if self.antialias:
            size = (INCEPTION_SIDE, INCEPTION_SIDE)
            return functional.interpolate(shown, size, mode="bilinear", align_corners=False, antialias=True)
        return _resized_like_tensorflow(shown, INCEPTION_SIDE)


class _SqueezeNet(nn.Module):
    """SqueezeNet 1.0 up to fire9, the last layer before the classifier, averaged over the picture: 512 features."""

    MEAN_BGR = (104.0, 117.0, 123.0)

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        from torchvision.models import squeezenet1_0

        super().__init__()
        published = squeezenet1_0(weights=None)
        published.load_state_dict(state)
        self.layers = published.features
        self.register_buffer("mean", torch.tensor(self.MEAN_BGR).view(1, 3, 1, 1))

    def forward(self, shown: torch.Tensor) -> torch.Tensor:
        return self.layers(shown.flip(1) - self.mean).mean(dim=(2, 3))


def _inception(state: dict[str, torch.Tensor]) -> nn.Module:
    return _Inception(state, antialias=False)


def _inception_antialias(state: dict[str, torch.Tensor]) -> nn.Module:
    return _Inception(state, antialias=True)


def _i3d(state: dict[str, torch.Tensor]) -> nn.Module:
    from bench.networks.i3d import I3d

    network = I3d()
    network.load_state_dict(state)
    return network


_BUILDERS: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], Any]]] = {
    "inception": ("inception-fid", _inception),
    "inception:antialias": ("inception-fid", _inception_antialias),
    "squeezenet": ("squeezenet", _SqueezeNet),
    "i3d": ("i3d", _i3d),
}
"""Name of the weights, and the network made of their tensors, by the network's name."""
