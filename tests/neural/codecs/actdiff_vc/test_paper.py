"""ActDiff-VC at the paper's scale, on a tiny network of Wan-VACE's classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai", "peft")
diffusers = pytest.importorskip("diffusers")

from bench.errors import UnavailableError  # noqa: E402
from bench.neural.codecs.actdiff_vc import paper  # noqa: E402
from bench.neural.codecs.actdiff_vc.coding import is_stored  # noqa: E402
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig  # noqa: E402
from bench.neural.codecs.actdiff_vc.model import ActDiffVc  # noqa: E402
from bench.neural.codecs.actdiff_vc.render import Conditions, render  # noqa: E402

CONFIG = ActDiffConfig(width=8, deep=8, y_channels=8, hyper_channels=4, rates=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("vace")
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.1] * 4, latents_std=[2.0] * 4
    )
    transformer = diffusers.WanVACETransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, text_dim=8, freq_dim=16, ffn_dim=16,
        num_layers=2, rope_max_seq_len=64, vace_layers=[0], vace_in_channels=72,
    )  # fmt: skip
    vae.save_pretrained(where / "vae")
    transformer.save_pretrained(where / "transformer")
    return where


@pytest.fixture(scope="module")
def model(folder: Path) -> ActDiffVc:
    return paper.build(CONFIG, folder).eval()


def conditions(last: bool = True) -> Conditions:
    torch.manual_seed(1)
    first, end = torch.rand(2, 1, 3, 40, 56) - 0.5
    return render(first, end if last else None, torch.rand(5, 6, 2) * 30, torch.ones(5, 6, dtype=torch.bool))


def test_segments_of_any_size_are_generated(model: ActDiffVc) -> None:
    with torch.no_grad():
        video = model.generator(conditions(), steps=2, seed=0)
    assert video.shape == (1, 3, 6, 40, 56)
    assert torch.isfinite(video).all()


def test_adapters_alone_of_the_users_networks_learn_and_are_stored(model: ActDiffVc) -> None:
    learning = {name for name, value in model.named_parameters() if value.requires_grad}
    assert any("lora_" in name for name in learning)
    assert {name for name in learning if name.startswith("generator.")} == {
        name for name, _ in model.named_parameters() if "lora_" in name
    }
    stored = {name for name, _ in model.named_parameters() if is_stored(name, "paper")}
    assert stored == {name for name in learning if not name.startswith("critic.")}


def test_the_control_is_what_diffusers_pipeline_prepares(model: ActDiffVc) -> None:
    """Keyframes known, the frames between guided, and the mask that says so, for 4 k + 1 frames of whole blocks."""
    pipeline = diffusers.WanVACEPipeline(
        tokenizer=None, text_encoder=None, vae=model.generator.latents.vae,
        scheduler=diffusers.UniPCMultistepScheduler(), transformer=model.generator.denoiser.network,
    )  # fmt: skip
    torch.manual_seed(2)
    video = torch.rand(1, 3, 5, 32, 48) - 0.5
    mask = torch.ones(1, 1, 5, 32, 48)
    mask[:, :, [0, -1]] = 0
    with torch.no_grad():
        latents = pipeline.prepare_video_latents(
            video, mask.expand(-1, 3, -1, -1, -1), reference_images=[[]], device=torch.device("cpu")
        )
        wanted = torch.cat([latents, pipeline.prepare_masks(mask, [[]])], dim=1)
        found = model.generator.latents.condition(Conditions(video, video, video, torch.tensor([True])))
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_segment_without_its_last_keyframe_is_open(model: ActDiffVc) -> None:
    with torch.no_grad():
        closed, opened = (model.generator.latents.condition(conditions(last))[:, 8:] for last in (True, False))
    assert opened[:, :, -1].min() == 1
    assert closed[:, :, -1].max() == 0
    assert torch.equal(opened[:, :, :-1], closed[:, :, :-1])


def test_latents_are_normalised_as_the_folder_says(model: ActDiffVc) -> None:
    latents = model.generator.latents
    torch.manual_seed(3)
    video = torch.rand(1, 3, 5, 32, 48) - 0.5
    with torch.no_grad():
        plain = latents.vae.encode(video).latent_dist.mode()
        assert torch.allclose(latents.encode(video, conditions()), (plain - 0.1) / 2, atol=1e-6)


def test_a_folder_that_does_not_fit_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="VCBENCH_WAN_VACE"):
        paper.check(None)
    with pytest.raises(UnavailableError, match=r"vae/config\.json: is not there"):
        paper.check(tmp_path)
    for part in ("vae", "transformer"):
        (tmp_path / part).mkdir()
        config = json.loads((folder / part / "config.json").read_text())
        (tmp_path / part / "config.json").write_text(json.dumps({**config, "vace_in_channels": 96}))
        (tmp_path / part / "x.safetensors").touch()
    with pytest.raises(
        UnavailableError, match="takes a control of 96 channels, the latents of vae/ and a mask have 72"
    ):
        paper.check(tmp_path)
