"""Networks without training, the weights that stand in for others', and clips that something can be learned from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    import torch

    from bench.neural.training.clips import Pictures


def awake(model: torch.nn.Module, std: float = 0.05, keeps: Callable[[str], bool] = lambda _: False) -> Any:
    """The model, ready to code, without zeros: behind them a path that differs on both sides would hide.

    ``keeps`` says of a parameter's name that it stays as it is.
    """
    import torch

    for name, parameter in model.named_parameters():
        if not parameter.any() and not keeps(name):
            torch.nn.init.normal_(parameter, std=std)
    return model.eval()


def moving_clip(seed: int, frames: int = 12, side: int = 128, step: int = 2) -> Pictures:
    """Smooth noise that moves left and up by so many pixels per frame."""
    import torch

    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (1, 3, side // 8 + 8, side // 8 + 8)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), scale_factor=8, mode="bicubic")
    picture = smooth[0].permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy()
    return np.stack([picture[t * step : t * step + side, t * step : t * step + side] for t in range(frames)])


def batch_of(clips: list[Pictures], frames: int, size: int = 64) -> torch.Tensor:
    """The first frames of the first two clips, cut to a size."""
    import torch

    from bench.neural.training.loop import to_batch

    return to_batch(np.stack([clip[:frames, :size, :size] for clip in clips[:2]]), torch.device("cpu"))


@contextmanager
def standing_in(folder: Path, name: str, network: torch.nn.Module) -> Iterator[Path]:
    """The file of a network's weights, which are found as those of that name in the manifest."""
    import torch

    file = folder / "stand-in.pt"
    torch.save(network.state_dict(), file)
    data = file.read_bytes()
    (folder / "weights.toml").write_text(
        f'[[weights]]\nname = "{name}"\ntitle = "stand-in"\nfile = "{file.name}"\nmade = "seeded"\n'
        f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nbytes = {len(data)}\nlicence = "none"\nsource = "this test"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCBENCH_WEIGHTS", str(folder))
        yield file
