"""vcbench fetch weights, and what other commands say of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VcBench = Callable[..., Any]


def test_the_list_says_what_there_is_and_where(vcbench: VcBench, shared_weights: Path) -> None:
    rows = {row["name"]: row for row in vcbench("fetch", "weights", "--json").json}
    assert rows["niqe"]["path"] == str(shared_weights / "niqe_pris_params.npz")
    assert rows["niqe"]["available"] and rows["niqe"]["reason"] is None
    assert not rows["alexnet"]["available"]
    assert rows["alexnet"]["reason"] == "no weights alexnet here; run: vcbench fetch weights alexnet"
    assert all(row["licence"] and row["source"] and len(row["sha256"]) == 64 for row in rows.values())
    table = vcbench("fetch", "weights").out
    assert all(f"\n  {name} " in table for name in rows)
    assert str(shared_weights / "niqe_pris_params.npz") in table


def test_weights_are_fetched_by_the_metric_that_needs_them(
    vcbench: VcBench, http_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"tensors"
    http_server.files["/net.pth"] = content
    (tmp_path / "weights.toml").write_text(
        f'[[weights]]\nname = "net"\ntitle = "t"\nlicence = "l"\nsource = "s"\nused_by = ["vmaf:net"]\nbytes = 7\n'
        f'file = "net.pth"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\nurl = "{http_server.url}/net.pth"\n'
    )
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path))
    (row,) = vcbench("fetch", "weights", "vmaf:net", "--to", tmp_path / "to", "--json").json
    assert row == {
        "name": "net",
        "path": str(tmp_path / "to" / "net.pth"),
        "sha256": hashlib.sha256(content).hexdigest(),
        "status": "downloaded",
    }
    assert (tmp_path / "to" / "net.pth").read_bytes() == content
    done = vcbench("fetch", "weights", "net", "--to", tmp_path / "to")
    assert done.out == f"net: present: {tmp_path / 'to' / 'net.pth'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["drawn"], "put net.pth into a folder named in VCBENCH_WEIGHTS; nobody offers it: it is drawn by lot"),
        (["lpips_alx"], "did you mean"),
        (["psnr_y"], "needs no weights"),
        (["niqe", "--sequences", "foreman"], "--sequences is for datasets"),
    ],
)
def test_what_cannot_be_fetched_says_why(
    vcbench: VcBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    (tmp_path / "weights.toml").write_text(
        f'[[weights]]\nname = "drawn"\ntitle = "t"\nlicence = "l"\nsource = "s"\nmade = "drawn by lot"\nbytes = 7\n'
        f'file = "net.pth"\nsha256 = "{"0" * 64}"\n'
    )
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path))
    done = vcbench("fetch", "weights", *arguments)
    assert done.code == 4
    assert message in done.err


def test_doctor_names_weights_that_are_missing_and_is_content(vcbench: VcBench) -> None:
    done = vcbench("doctor", "--json")
    assert done.code == 0
    (row,) = (row for row in done.json["weights"] if row["name"] == "vgg16")
    assert row["reason"] == "no weights vgg16 here; run: vcbench fetch weights vgg16"
