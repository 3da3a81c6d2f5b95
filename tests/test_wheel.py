"""The wheel, installed away from the repository, is whole: it codes a clip and fetches its weights."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cards import load_card

ROOT = Path(__file__).resolve().parents[1]
OWN = ("actdiff-vc-small", "diff-sit-small", "s2vc-small")
pytestmark = pytest.mark.slow

VcBench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builders = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    (made,) = builders.WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"]
    )
    return Path(made)


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of packages that the wheel is installed in."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:  # which is what installing a pure wheel is
        archive.extractall(folder)
    return folder


@pytest.fixture
def vcbench(site: Path, tmp_path: Path) -> VcBench:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VCBENCH_")}
    own = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1", "VCBENCH_CACHE": str(tmp_path / "cache")}

    def call(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bench.cli", *map(str, arguments)],
            cwd=tmp_path, env={**kept, **own, **more}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return call


def test_an_installed_wheel_codes_a_clip(
    vcbench: VcBench, site: Path, tiny_clip: Callable[..., Path], tmp_path: Path
) -> None:
    where = subprocess.run(
        [sys.executable, "-c", "import bench; print(bench.__file__)"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(site)
    done = vcbench("run", "--codecs", "x264", "--rates", "40", "--input", tiny_clip(frames=2), "--metrics", "psnr_y",
                   "--jobs", "1", "--out", tmp_path / "results")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (cell,) = (tmp_path / "results").rglob("cells/*.json")
    assert json.loads(cell.read_text(encoding="utf-8"))["status"] == "ok"


def test_it_is_small_and_has_the_weights_of_every_default_configuration(wheel: Path, site: Path) -> None:
    assert wheel.stat().st_size < 20e6
    cards = site / "bench" / "_data" / "codecs"
    assert sorted(path.name for path in cards.glob("*.toml")) == sorted(
        p.name for p in (ROOT / "codecs").glob("*.toml")
    )
    lacking = {
        (path.stem, name)
        for path in cards.glob("*.toml")
        for name in (None, *load_card(path).configurations)
        for wanted in load_card(path).configured(name).weights
        if wanted.fetched is None and not (cards / wanted.file).is_file()
    }
    assert {codec for codec, _ in lacking} == set(OWN)
    assert all(name is not None and name.startswith("learned") for _, name in lacking)


def test_every_weight_file_that_the_wheel_lacks_is_in_its_manifest(site: Path) -> None:
    manifest = tomllib.loads((site / "bench" / "weights" / "weights.toml").read_text(encoding="utf-8"))
    offered = {entry["sha256"] for entry in manifest["weights"]}
    cards = site / "bench" / "_data" / "codecs"
    wanted = [
        one
        for path in cards.glob("*.toml")
        for name in (None, *load_card(path).configurations)
        for one in load_card(path).configured(name).weights
        if one.fetched is None and not (cards / one.file).is_file()
    ]
    assert wanted and {one.sha256 for one in wanted} <= offered


@pytest.mark.neural
def test_a_codec_without_its_weights_says_how_to_get_them_and_that_helps(
    vcbench: VcBench, http_server: Any, tiny_clip: Callable[..., Path], tmp_path: Path
) -> None:
    run = ("run", "--codecs", "diff-sit-small@learned", "--input", tiny_clip(frames=2), "--dry-run")
    absent = vcbench(*run)
    assert "no weights diff-sit-small here; run: vcbench fetch weights diff-sit-small --from PATH" in absent.stderr
    assert "VCBENCH_WEIGHTS_URL" in absent.stderr and absent.returncode != 0
    nowhere = vcbench("fetch", "weights", "diff-sit-small")
    assert nowhere.returncode != 0 and "--from PATH" in nowhere.stderr

    done = vcbench("fetch", "weights", "diff-sit-small", "--from", ROOT)
    kept = tmp_path / "cache" / "weights" / "diff-sit-small.safetensors"
    assert (done.returncode, done.stdout) == (0, f"diff-sit-small: copied: {kept}\n"), done.stderr
    there = vcbench(*run)
    assert there.returncode == 0, there.stderr

    file = ROOT / "codecs" / "weights" / "s2vc-small.safetensors"
    http_server.files["/files/s2vc-small.safetensors"] = file.read_bytes()
    fetched = vcbench("fetch", "weights", "s2vc-small@learned", VCBENCH_WEIGHTS_URL=f"{http_server.url}/files/")
    assert fetched.returncode == 0 and "s2vc-small: downloaded: " in fetched.stdout, fetched.stderr


def hook() -> Any:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_index_shows_no_link_that_leads_nowhere(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        text = archive.read(name).decode()
    assert "# vcbench" in text and "Rate is a file." in text
    assert [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target] == []


def test_with_an_address_links_lead_to_files_of_the_release(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    made = hook().CustomMetadataHook(str(ROOT), {"repository": "https://example.org/us/vcbench/"})
    metadata: dict[str, Any] = {}
    made.update(metadata)
    base = "https://example.org/us/vcbench"
    targets = re.findall(r"\]\(([^)\s]+)\)", metadata["readme"]["text"])
    inside = [target for target in targets if target.startswith(base)]
    assert len(inside) > 10 and all("://" in target for target in targets)
    for target in inside:
        assert (ROOT / re.sub(f"^{base}/(blob|raw)/v[^/]+/", "", target).partition("#")[0]).exists(), target
    assert metadata["urls"]["Source"] == base
    shown = hook().shown
    assert shown("[![alt](a/b.png)](c.md#d) [e](https://f.org) [g](#h)", base, "v1") == (
        f"[![alt]({base}/raw/v1/a/b.png)]({base}/blob/v1/c.md#d) [e](https://f.org) [g](#h)"
    )
    assert shown("a [b](c.md) ![d](e.png)", "", "v1") == "a b "
