"""vcbench train: a tiny training through the command, resumed and exported, and everything it refuses."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai", "diffusers", "torchvision")

from bench.cli.train import _interrupts_noted  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"), pytest.mark.slow]

TINY = [
    argument
    for setting in ("width=16", "deep=16", "latent_channels=8", "y_channels=16", "hyper_channels=8", "guidance=16",
                    "unet_widths=16,16", "vae_width=8", "rates=2")
    for argument in ("--set", setting)
]  # fmt: skip


@pytest.fixture(autouse=True)
def _few_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model begins with is fitted to an eighth: none of its quality is asked for here."""
    monkeypatch.setattr("bench.neural.codecs.s2vc.transform.CUTS", 32)


@pytest.fixture
def videos(tmp_path: Path, tiny_clip: Callable[..., Path]) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "clip0.y4m").symlink_to(tiny_clip(144, 136, 3))
    return folder


def test_a_run_is_resumed_exported_and_protected(
    vcbench: Callable[..., Any], videos: Path, tmp_path: Path, shared_weights: Path
) -> None:
    """One step of two stages; its second half by the same command; another seed is refused; the file can be read."""
    out = tmp_path / "run"
    given = ["train", "s2vc", "--clips", videos, "--out", out, "--stages", "autoencoder,inter", "--steps-scale", 1e-9]
    stopped = vcbench(*given, *TINY, "--minutes", 0, "--json")
    assert stopped.code == 0
    assert (stopped.json["done"], stopped.json["stage"], stopped.json["steps_done"]) == (False, "autoencoder", 0)
    done = vcbench(*given, *TINY, "--export", "--json")
    assert done.code == 0, done.err
    assert (done.json["done"], done.json["steps_done"], done.json["skipped"]) == (True, 2, 0)
    assert "continues after 0 steps" in done.err
    assert "1 clip to train on, 0 held out" in done.err
    refused = vcbench(*given, *TINY, "--seed", 1)
    assert refused.code == 4
    assert "run.json: seed is now 1, the run was started with 0" in refused.err
    from bench.neural.coding.weight_file import load

    loaded = load(Path(done.json["weights"]))
    assert (loaded.about.codec, loaded.about.config["width"]) == ("s2vc", 16)
    assert done.json["sha256"] in Path(done.json["model_card"]).read_text()
    clip = videos / "clip0.y4m"
    options = ["--frames", 2, "--rates", 1, "--metrics", "psnr_y"]
    ran = vcbench(
        "run", "--codecs", done.json["card"], "--input", clip, *options, "--out", tmp_path / "results", "--json"
    )
    assert ran.code == 0, ran.err
    run = json.loads((out / "run.json").read_text())
    assert run["clips"] == ["clip0.y4m"]
    assert run["config"]["rates"] == 2


def test_a_weight_file_is_trained_on_with_its_entropy_coder_as_it_is(
    vcbench: Callable[..., Any], videos: Path, tmp_path: Path, shared_weights: Path
) -> None:
    """Cut before its first step and gone on with, the file that comes out has the tables of the one it began with."""
    from safetensors.torch import load_file

    given = ["train", "s2vc", "--clips", videos, "--steps-scale", 1e-9, "--export", "--json"]
    first = vcbench(*given, *TINY, "--stages", "autoencoder,inter", "--out", tmp_path / "first")
    assert first.code == 0, first.err
    given += ["--from", first.json["weights"]]
    cut = [*given, *TINY, "--stages", "autoencoder", "--out", tmp_path / "cut"]
    assert not vcbench(*cut, "--minutes", 0).json["done"]
    goes_on = [*given[:-2], *TINY, "--stages", "autoencoder", "--out", tmp_path / "cut"]
    before, after = (load_file(path) for path in (first.json["weights"], vcbench(*goes_on).json["weights"]))
    assert before.keys() == after.keys()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"vae"}

    refused = vcbench(*given, *TINY, "--stages", "inter", "--out", tmp_path / "refused")
    assert "stage inter trains the entropy coder, of which a weight file has only the tables" in refused.err
    later = vcbench(*goes_on[:-4], "--stages", "autoencoder,inter", "--out", tmp_path / "cut")
    assert "checkpoint.pt: stage inter trains the entropy coder" in later.err
    other = vcbench(*given, "--stages", "autoencoder", "--out", tmp_path / "other")
    assert "first/s2vc-small.safetensors: is of another model (size mismatch" in other.err
    assert [outcome.code for outcome in (refused, later, other)] == [4, 4, 4]


def test_a_weight_file_of_another_codec_is_refused_before_any_clip_is_read(
    vcbench: Callable[..., Any], tmp_path: Path, tiny_weights: Path, shared_weights: Path
) -> None:
    arguments = ["--clips", tmp_path, "--out", tmp_path / "run", "--from"]
    refused = vcbench("train", "diff-sit", *arguments, tiny_weights)
    assert refused.code == 4
    assert f"{tiny_weights}: holds weights of s2vc, and diff-sit is to be trained" in refused.err
    damaged = tmp_path / "cut.safetensors"
    damaged.write_bytes(tiny_weights.read_bytes()[:100])
    assert f"{damaged}: is damaged or no safetensors file" in vcbench("train", "s2vc", *arguments, damaged).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "width"], "--set width: takes KEY=VALUE"),
        (["--set", "widht=3"], "unknown setting 'widht'; did you mean width"),
        (["--set", "width=many"], "--set width=many: takes a whole number"),
        (["--set", "temporal_guidance=no"], "--set temporal_guidance=no: is true or false"),
        (["--stages", "intro"], "unknown stage 'intro'; did you mean intra"),
        (
            ["--keep", "0.5", "--export"],
            "--keep: mixes the weights of --from into those that --export writes; give both",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_clip_is_read(
    vcbench: Callable[..., Any], tmp_path: Path, shared_weights: Path, arguments: list[str], message: str
) -> None:
    outcome = vcbench("train", "s2vc", "--clips", tmp_path, "--out", tmp_path / "run", *arguments)
    assert outcome.code == 4
    assert message in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_folder_without_videos_is_named(vcbench: Callable[..., Any], tmp_path: Path, shared_weights: Path) -> None:
    outcome = vcbench("train", "s2vc", "--clips", tmp_path, "--out", tmp_path / "run")
    assert outcome.code == 4
    assert f"{tmp_path}: holds no video to train on" in outcome.err


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_kept_lies_between_both_weights(tiny_weights: Path, tmp_path: Path, kind: str) -> None:
    """A quarter of the way back to the weights that a run began with, whichever way these are named."""
    import torch

    from bench.cli.train import _keep
    from bench.neural.codecs.s2vc.coding import is_stored
    from bench.neural.coding.weight_file import load

    before = load(tiny_weights).model
    model = deepcopy(before)
    for value in model.parameters():
        value.add_(1)
    origin = tiny_weights
    if kind == "folder":
        origin = tmp_path
        torch.save(before.state_dict(), tmp_path / "checkpoint.pt")
    _keep(model, origin, "s2vc", 0.25)
    for name, value in before.named_parameters():
        if ".prior." in name or not is_stored(name):
            continue  # a weight file has none of these
        assert torch.allclose(model.get_parameter(name), value + 0.75, atol=1e-3), name


def test_weights_to_start_from_that_are_not_there_are_named(
    vcbench: Callable[..., Any], tmp_path: Path, videos: Path, shared_weights: Path
) -> None:
    outcome = vcbench("train", "s2vc", "--clips", videos, "--out", tmp_path / "run", "--from", videos)
    assert outcome.code == 4
    assert "checkpoint.pt: no such file; name the folder of a training" in outcome.err


def test_weights_that_are_missing_say_what_to_run(
    vcbench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCBENCH_CACHE", str(tmp_path / "cache"))
    outcome = vcbench("train", "s2vc", "--clips", tmp_path, "--out", tmp_path / "run", "--json")
    assert outcome.code == 4
    assert outcome.json["error"]["type"] == "UnavailableError"
    assert "squeezenet" in outcome.json["error"]["message"]


def test_one_interrupt_is_noted_and_two_end_at_once() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with _interrupts_noted() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_folder_with_other_files_is_refused_before_any_work(
    vcbench: Callable[..., Any], videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "run.json").write_text('{"experiment": 1}')
    (out / "checkpoint.pt.bak").write_text("mine")
    done = vcbench("train", "s2vc", "--clips", videos, "--out", out)
    assert done.code == 4
    assert f"{out}: holds files that are not a training of vcbench (checkpoint.pt.bak, run.json)" in done.err
    assert (out / "run.json").read_text() == '{"experiment": 1}'
