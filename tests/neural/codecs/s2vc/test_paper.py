"""S2VC around a user's diffusion networks, on a tiny folder of the same classes that the test saves itself."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai", "diffusers", "peft", "torchvision")

from bench.bitstream.container import StreamHeader  # noqa: E402
from bench.errors import UnavailableError  # noqa: E402
from bench.neural.codecs.s2vc import paper  # noqa: E402
from bench.neural.codecs.s2vc.codec import decode, encode  # noqa: E402
from bench.neural.codecs.s2vc.model import S2vc  # noqa: E402
from bench.neural.codecs.s2vc.training import S2vcTask  # noqa: E402
from bench.neural.networks.backbones import INTER, INTRA, add_lora, to_latent, to_picture  # noqa: E402
from bench.neural.networks.perceptual_loss import DeepFeatures  # noqa: E402
from bench.neural.training.loop import Stage, Training, weights_of  # noqa: E402
from bench.video.sequence import open_sequence  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"), pytest.mark.slow]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """unet/ and vae/ as Stable Diffusion 1.5 has them, but tiny: two levels of 16 channels, a VAE of stride 8."""
    from diffusers.models import AutoencoderKL, UNet2DConditionModel

    folder = tmp_path_factory.mktemp("sd")
    torch.manual_seed(0)
    UNet2DConditionModel(
        block_out_channels=(16, 16), layers_per_block=1, norm_num_groups=8, attention_head_dim=4,
        cross_attention_dim=24, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(folder / "unet")  # fmt: skip
    AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=4, scaling_factor=0.18215,
    ).save_pretrained(folder / "vae")  # fmt: skip
    return folder


@pytest.fixture
def model(backbone: Path) -> S2vc:
    from dataclasses import replace

    torch.manual_seed(1)
    config = paper.config(backbone)
    small = replace(config, width=16, deep=16, y_channels=8, hyper_channels=8, rates=3, teacher_channels=512)
    return paper.build(small, backbone)


def features() -> DeepFeatures:
    """Seeded stand-ins for the real weights."""
    from torchvision.models import squeezenet1_0

    torch.manual_seed(2)
    return DeepFeatures(squeezenet1_0(weights=None).state_dict())


def clips() -> list[Any]:
    return [np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)]


def test_sizes_come_from_the_users_networks(backbone: Path) -> None:
    config = paper.config(backbone)
    assert (config.latent_channels, config.guidance, config.unet_widths) == (4, 24, (16, 16))


def test_one_training_changes_the_adapters_and_the_new_parts_alone(model: S2vc, tmp_path: Path) -> None:
    """An I and a P frame, two steps (an adapter's first matrix learns from the second one on): both adapters learn."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = Training(S2vcTask(model, features(), clips()), [Stage("inter", 3, 1e-3, 1, 64, 2)], clips(), tmp_path)
    run.run(progress=lambda line: None)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    given = {name for name in before if name.startswith(("vae.", "diffusion.unet.")) and ".lora_" not in name}
    assert not changed & given
    for part in ("lora_A.intra", "lora_B.intra", "lora_A.inter", "lora_B.inter", "guide.", "adapters.0", "adapters.1"):
        assert any(part in name for name in changed), part
    stored = set(weights_of(tmp_path))
    assert not stored & given
    assert changed <= stored


def test_stored_weights_and_the_folder_give_the_model_back(backbone: Path, model: S2vc, tmp_path: Path) -> None:
    run = Training(S2vcTask(model, features(), []), [Stage("inter", 1, 1e-3, 1, 64, 2)], clips(), tmp_path)
    run.run(progress=lambda line: None)
    again = paper.build(model.config, backbone)
    Training(S2vcTask(again, features(), []), [Stage("inter", 1, 1e-3, 1, 64, 2)], clips(), tmp_path)
    found = again.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())


def test_a_stream_goes_there_and_back(model: S2vc, tiny_clip: Callable[..., Path]) -> None:
    """Two U-Net levels, AutoencoderKL, adapters by frame type: the decoder ends in the encoder's state."""
    model.eval()
    frames = list(open_sequence(tiny_clip(90, 70, 3)).read())
    file = io.BytesIO()
    encode(model, frames, StreamHeader("tiny", b"12345678", frames[0].format, 3, 1), file)
    decoded = list(decode(model, io.BytesIO(file.getvalue()), name="tiny", weights=b"12345678"))
    assert [frame.format for frame in decoded] == [frame.format for frame in frames]


def test_each_frame_type_has_an_adapter_of_its_own(model: S2vc) -> None:
    """LoRA starts at zero; then each changes its own frame type alone, and neither freezes the other."""
    latent, guidance = torch.randn(1, 4, 8, 8), torch.randn(1, 2, 24)

    def outputs() -> list[Any]:
        with torch.no_grad():
            return [model.diffusion(latent, guidance, None, kind)[0] for kind in (INTRA, INTER)]

    first = outputs()
    assert torch.equal(*first)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B.inter" in name:
                parameter.normal_(std=0.1)
    second = outputs()
    assert torch.equal(first[INTRA], second[INTRA])
    assert not torch.equal(first[INTER], second[INTER])
    assert all(value.requires_grad for name, value in model.named_parameters() if ".lora_" in name)


def test_latents_are_in_the_units_of_the_unet(model: S2vc) -> None:
    """diffusers' own recipe: the mode times the scaling factor; and divided by it before decoding."""
    vae: Any = model.vae
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        latent = to_latent(vae, picture)
        assert torch.allclose(latent, vae.encode(picture).latent_dist.mode() * 0.18215)
        assert torch.allclose(to_picture(vae, latent), vae.decode(latent / 0.18215).sample)


def test_scale_of_an_adapter_is_alpha_over_rank(backbone: Path) -> None:
    from bench.neural.networks.backbones import from_folder

    unet: Any = from_folder("UNet2DConditionModel", backbone, "unet")
    add_lora(unet, 64, 8)
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k
    assert layer.scaling == {"intra": 8 / 64, "inter": 8 / 64}
    assert layer.lora_A["intra"].weight.shape == (64, 24)


def changed_copy(backbone: Path, target: Path, part: str, **values: Any) -> Path:
    """The folder with other entries in one network's config.json (None: without its weights)."""
    import shutil

    shutil.copytree(backbone, target)
    file = target / part / "config.json"
    if values.get("weights", True) is None:
        next((target / part).glob("*.safetensors")).unlink()
    else:
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    return target


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("unet", {"_class_name": "UNet3DConditionModel"}, r"unet: holds a UNet3DConditionModel, S2VC takes a UNet2D"),
        ("vae", {"_class_name": "AutoencoderTiny"}, r"vae: holds a AutoencoderTiny, S2VC takes a AutoencoderKL"),
        ("vae", {"weights": None}, r"vae: has no \*.safetensors"),
        ("unet", {"in_channels": 9}, r"latents of vae/ have 4 channels, unet/ takes 9"),
        ("vae", {"block_out_channels": [8, 8, 8]}, r"vae: has stride 4, S2VC takes 8"),
        ("unet", {"cross_attention_dim": 32}, r"unet: cannot be loaded as UNet2DConditionModel"),
    ],
)
def test_a_folder_that_does_not_fit_is_named(
    backbone: Path, tmp_path: Path, part: str, values: dict[str, Any], message: str
) -> None:
    folder = changed_copy(backbone, tmp_path / "sd", part, **values)
    with pytest.raises(UnavailableError, match=message):
        paper.build(paper.config(folder), folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match=r"unet/config.json: is not there; name a folder saved by"):
        paper.check(tmp_path)
    monkeypatch.delenv(paper.STABLE_DIFFUSION.variable, raising=False)
    with pytest.raises(UnavailableError, match="by --backbone or VCBENCH_SD15"):
        paper.check(None)
    monkeypatch.setenv(paper.STABLE_DIFFUSION.variable, str(tmp_path))
    with pytest.raises(UnavailableError, match=str(tmp_path)):
        paper.check(None)
