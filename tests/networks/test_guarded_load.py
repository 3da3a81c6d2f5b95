"""What a sealed thread may not do, and what it leaves as it was."""

from __future__ import annotations

import os
import pickle
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from bench.networks.guarded_load import sealed


class Trap:
    """An object whose unpickling makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_no_connection_is_made(listener: Any) -> None:
    with sealed() as seal:
        with pytest.raises(OSError, match="not allowed here"):
            socket.create_connection(listener)
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen("http://example.invalid/")
    assert seal.refused == ["a connection"] * 2
    socket.create_connection(listener).close()


def test_network_is_allowed_where_it_is_said(listener: Any) -> None:
    with sealed(network=True) as seal:
        socket.create_connection(listener).close()
    assert seal.refused == []


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    payload = pickle.dumps(Trap(tmp_path / "sprung"))
    with sealed(network=True) as seal, pytest.raises(pickle.UnpicklingError, match="not allowed here"):
        pickle.loads(payload)
    assert not (tmp_path / "sprung").exists()
    assert seal.refused[0].startswith("a pickle that executes pathlib")
    pickle.loads(payload)
    assert (tmp_path / "sprung").exists()


def test_torch_reads_tensors_alone_whatever_it_is_asked(tmp_path: Path) -> None:
    import torch

    good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
    torch.save({"weight": torch.arange(3)}, good)
    torch.save({"weight": torch.arange(3), "trap": Trap(tmp_path / "sprung")}, bad)
    with sealed() as seal:
        assert torch.load(good, weights_only=False)["weight"].tolist() == [0, 1, 2]
        with pytest.raises(pickle.UnpicklingError):
            torch.load(bad, weights_only=False)
    assert not (tmp_path / "sprung").exists()
    assert {good, bad} <= seal.opened


def test_other_threads_and_what_follows_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    loaded = []
    thread = threading.Thread(target=lambda: loaded.append(pickle.loads(pickle.dumps(tmp_path))))
    with sealed() as outer:
        with sealed() as inner:
            (tmp_path / "a").write_text("")
        (tmp_path / "b").write_text("")
        assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
        thread.start()
        thread.join()
    assert loaded == [tmp_path]
    assert (inner.opened, outer.opened) == ({tmp_path / "a"}, {tmp_path / "b"})
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
