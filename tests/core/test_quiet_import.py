"""compressai and diffusers are imported without what they drag in, and without its warnings."""

from __future__ import annotations

import subprocess
import sys

import pytest
from needed import needed

from bench.core.quiet_import import imported

needed("compressai")

_FRESH = """
import sys
from bench.core.quiet_import import _Hollow, imported

classes = {classes}
found = [getattr(imported(module), name) for module, name in classes]
left_out = ["peft", "transformers", "bitsandbytes", "torch._dynamo", "torch_geometric", "pandas", "torchvision"]
print([name for name in left_out if name in sys.modules])
hollow = [name for name, module in sys.modules.items() if isinstance(module, _Hollow)]
print(hollow, any(isinstance(part, _Hollow) for part in vars(sys.modules["torch"]).values()))
{then}
"""


def fresh(classes: list[tuple[str, str]], then: str = "") -> list[str]:
    """What a fresh interpreter prints that imports classes and goes on."""
    program = _FRESH.format(classes=classes, then=then)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout.splitlines()


def test_models_are_there_and_point_clouds_are_not() -> None:
    before = set(sys.modules)
    assert (
        imported("compressai.zoo.video").model_architectures["ssf2020"].__module__ == "compressai.models.video.google"
    )
    assert not any(name.partition(".")[0] == "torch_geometric" for name in set(sys.modules) - before)


def test_what_is_at_hand_is_not_imported_again(monkeypatch: pytest.MonkeyPatch) -> None:
    module = imported("compressai.ops")
    monkeypatch.setattr("bench.core.quiet_import._quietly", lambda *_: pytest.fail("imported again"))
    assert imported("compressai.ops") is module is sys.modules["compressai.ops"]


def test_finders_are_left_as_they_were() -> None:
    before = list(sys.meta_path)
    with pytest.raises(ModuleNotFoundError):
        imported("compressai.no_such_module")
    assert sys.meta_path == before


@pytest.mark.slow  # two libraries in an interpreter of its own
def test_all_networks_come_without_a_compiler_and_without_other_libraries() -> None:
    pytest.importorskip("diffusers")
    said = fresh(
        [
            ("compressai.zoo.image", "model_architectures"),
            ("diffusers.models.autoencoders.autoencoder_tiny", "AutoencoderTiny"),
            ("diffusers.models.unets.unet_2d_condition", "UNet2DConditionModel"),
            ("diffusers.models.transformers.transformer_wan", "WanTransformer3DModel"),
            ("diffusers.models.autoencoders.autoencoder_kl_wan", "AutoencoderKLWan"),
        ],
        # what was left out can be had afterwards, by its users and by the library's own packages
        "import diffusers, peft, scipy.stats\n"
        "print(diffusers.AutoencoderKL.__module__, diffusers.models.transformers.FluxTransformer2DModel.__name__)\n"
        "model = imported('compressai.entropy_models').GaussianConditional([1.0])\n"
        "print(model.scale_table, scipy.stats.norm.cdf(0))\n",
    )
    assert said == [
        "[]",
        "[] False",
        "diffusers.models.autoencoders.autoencoder_kl FluxTransformer2DModel",
        "tensor([1.]) 0.5",
    ]
