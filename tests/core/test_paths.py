"""An address is never taken for a path, whatever its scheme and whoever asks."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.core.paths import local_path
from bench.datasets.manifest import data_root
from bench.errors import UsageError
from bench.report import build_report
from bench.results.result_set import ResultSet

ADDRESSES = ["s3://bucket/x", "gs://bucket/x", "https://host/clip.y4m", "abfs://c@a.dfs.core.windows.net/x", "HTTP://h"]
PATHS = ["results/mine", "/abs/s3:/x", "./s3://x", "a:b/c", "C:/clips", "12:30/x", "x y://z", "", "s3:"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_refused_with_what_to_do(address: str) -> None:
    for given in (address, Path(address)):
        with pytest.raises(
            UsageError, match=r"is an address.*download.*file system.*docs/how-to/scale-out\.md"
        ) as refused:
            local_path(given)
        assert str(refused.value).startswith(address.rstrip("/"))


@pytest.mark.parametrize("given", PATHS)
def test_a_path_is_itself(given: str) -> None:
    assert local_path(given) == Path(given)


@pytest.mark.parametrize("address", ["file:///data/clip.y4m", Path("file:///data/clip.y4m")])
def test_of_a_file_address_the_path_is_told(address: str | Path) -> None:
    with pytest.raises(UsageError, match=r"^file:///data/clip\.y4m is .* the path itself, /data/clip\.y4m$"):
        local_path(address)


def test_every_call_refuses_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VCBENCH_DATA", "s3://bucket/data")
    address = "s3://bucket/x"
    calls = [
        lambda: bench.run("x264", out=address, inputs=tmp_path / "clip.y4m"),
        lambda: bench.run("x264", out=tmp_path / "out", inputs=[address]),
        lambda: bench.load(address),
        lambda: bench.gate(address, tmp_path, fail="bd_rate(psnr_y)>1%"),
        lambda: bench.score(address, tmp_path / "clip.y4m"),
        lambda: build_report(ResultSet((tmp_path,), [], []), Path(address)),
        data_root,
    ]
    for call in calls:
        with pytest.raises(UsageError, match="is an address"):
            call()
    assert not list(tmp_path.iterdir())
