"""How far a run is, from its folder alone; which processes on which machine are alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import Vcbench

from bench.engine.cell import Task
from bench.engine.progress import Pace, Watch, announced, state
from bench.engine.schedule import Job
from bench.engine.store import liveness as presence
from bench.engine.store.folder import Store
from bench.errors import StoreError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "set")


def result(store: Store, name: str, status: str = "ok", *, at: float | None = None) -> None:
    """A result file as far as its status, written at a time."""
    path = store.cell_path(name)
    path.write_text(json.dumps({"status": status}))
    if at is not None:
        os.utime(path, (at, at))


def leave_run(store: Store, cells: dict[str, float], **changes: Any) -> Path:
    """The file of a driver that started a minute ago."""
    path = store.root / "work" / "run-0123456789abcdef.json"
    content = {
        **presence.signature(), "backend": "dask", "jobs": 4, "started": time.time() - 60, "total": 8, "cells": cells,
        **changes,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def seconds_left(pace: Pace, now_s: float) -> float:
    left = pace.left(now_s)
    assert left is not None
    assert not left.at_least
    return left.seconds


def test_the_pace_is_that_of_the_cells_after_the_first() -> None:
    """Costs 1, 2, 3, 4, 10 finished at 30, 40, 50, 60 s: 3 cells and 9 of cost in 30 s, and 10 of cost are left."""
    pace = Pace({"a": 1, "b": 2, "c": 3, "d": 4, "e": 10})
    assert (pace.rate(20), pace.left(20)) == (None, None)
    pace.finish("a", 30)
    assert pace.rate(30) == pytest.approx(60 * 1 / 30)
    assert seconds_left(pace, 30) == pytest.approx(30 * 19 / 1)
    for name, at in (("b", 40), ("c", 50), ("d", 60)):
        pace.finish(name, at)
    assert pace.rate(60) == pytest.approx(60 * 3 / 30)
    assert seconds_left(pace, 60) == pytest.approx(30 * 10 / 9)
    pace.finish("e", 90)
    assert seconds_left(pace, 90) == 0


def test_cells_that_are_finished_together_are_no_burst_of_speed() -> None:
    """Four cells a minute in groups of four: the moment after a group has no other speed than the minute."""
    pace = Pace({str(number): 1.0 for number in range(16)})
    for number in range(4):
        pace.finish(str(number), 60 + number / 1000)
    assert pace.rate(60.003) == pytest.approx(4, rel=0.01)
    assert seconds_left(pace, 60.003) == pytest.approx(180, rel=0.01)
    for number in range(4, 8):
        pace.finish(str(number), 120 + number / 1000)
    assert pace.rate(120.01) == pytest.approx(4, rel=0.01)
    assert seconds_left(pace, 120.01) == pytest.approx(120, rel=0.01)


def test_a_burst_of_cells_that_do_no_work_is_no_speed() -> None:
    """Three cells that are skipped at once, of five; then one that takes ten seconds."""
    pace = Pace({str(number): 1.0 for number in range(5)})
    for number in range(3):
        pace.finish(str(number), 0.001, tried=False)
    assert (pace.rate(0.001), pace.left(0.001)) == (None, None)
    assert (pace.rate(9), pace.left(9)) == (None, None)
    pace.finish("3", 10)
    assert pace.rate(10) == pytest.approx(6)
    assert seconds_left(pace, 10) == pytest.approx(10)


@pytest.mark.parametrize(("metrics_s", "left_s"), [(0.0, 4 * 10.0), (5.0, 4 * 15.0)])
def test_a_codec_that_was_never_measured_has_no_time_left_before_its_first_cell(
    metrics_s: float, left_s: float
) -> None:
    """One worker. Four cells of a fast codec in a second each, and of a slow one of ten, guessed to cost the same.

    What metrics take comes on top of both.
    """
    new = {codec: [f"{codec}{number}" for number in range(8)] for codec in ("fast", "slow")}
    pace = Pace(dict.fromkeys([*new["fast"], *new["slow"]], 1.0), new)
    now = 0.0
    for number in range(8):
        now += 1 + metrics_s
        pace.finish(f"fast{number}", now, took_s=1.0)
    early = pace.left(now)
    assert early is not None
    assert (early.at_least, early.seconds) == (True, 0.0)
    for number in range(4):
        now += 10 + metrics_s
        pace.finish(f"slow{number}", now, took_s=10.0)
    assert seconds_left(pace, now) == pytest.approx(left_s, rel=0.05)


def test_a_run_is_told_from_its_folder(store: Store) -> None:
    """Of eight cells five were to be run: one is new, one failed now; an older failure and an old result count not."""
    now = time.time()
    leave_run(store, {"new": 1.0, "bad": 1.0, "old": 1.0, "left": 1.0, "also": 1.0})
    for name, status, at in (
        ("new", "ok", now - 20), ("bad", "failed", now - 10),
        ("old", "failed", now - 3600), ("before", "ok", now - 3600),
    ):  # fmt: skip
        result(store, name, status, at=at)
    store.cell_path("damaged").write_text("{")
    with store.working_folder("left"):
        found = state(store.root)
    assert found.cells == {"ok": 2, "failed": 2, "unreadable": 1}
    assert [(item.cell, item.pid) for item in found.working] == [("left", os.getpid())]
    (run,) = found.runs
    assert (run.alive, run.total, run.done, run.failed, run.backend, run.jobs) == (True, 8, 5, 1, "dask", 4)
    assert run.rate == pytest.approx(2, rel=0.05)
    assert run.left_s == pytest.approx(60 * 3 / 2, rel=0.05)
    assert state(store.root).working == []


def test_a_run_that_was_killed_tells_what_it_left(store: Store) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    path = leave_run(store, {"new": 1.0, "left": 1.0}, pid=dead.pid)
    result(store, "new")
    (run,) = state(store.root).runs
    assert (run.alive, run.done, run.total, run.left_s) == (False, 7, 8, None)
    assert "the same command continues" in str(run.reason)
    with announced(store, [], 0, {"backend": "loky", "jobs": 2}):
        assert not path.exists()


def test_a_driver_leaves_word_until_it_is_finished_and_longer_if_it_is_ended(store: Store) -> None:
    cells: Any = (SimpleNamespace(name="a"), SimpleNamespace(name="b"))
    job = Job(Task(cells, {}, store.root, {}), 6.0, 0, gpu=False)
    facts = {"backend": "loky", "jobs": 2}
    with announced(store, [job], 5, facts) as pace:
        pace.finish("a", 30)
        assert seconds_left(pace, 30) == pytest.approx(30)
        (run,) = state(store.root).runs
        assert (run.alive, run.done, run.total, run.rate, run.reason) == (True, 3, 5, None, "no cell is finished yet")
    assert state(store.root).runs == []
    with pytest.raises(KeyboardInterrupt), announced(store, [job], 5, facts):
        raise KeyboardInterrupt
    assert len(state(store.root).runs) == 1


def test_a_folder_that_is_no_result_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a result set"):
        state(tmp_path)


def marker(store: Store, name: str, *, silent: float, **changes: Any) -> Path:
    """A marker whose process gave its last sign of life so many seconds ago."""
    content = {"cell": name, "since": 0, **presence.signature(), **changes}
    path = store.root / "work" / f"{name}.01234567-{content['pid']}.abcd_123" / "marker.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    os.utime(path, (time.time() - silent,) * 2)
    return path


def test_a_worker_of_another_machine_lives_as_long_as_it_gives_signs_of_life(store: Store) -> None:
    """Its process number says nothing here: that of the first is ours, that of the second is nobody's."""
    marker(store, "silent", silent=2 * presence.LOST_AFTER_S, host="elsewhere/1")
    marker(store, "alive", silent=presence.BEAT_S, host="elsewhere/1", pid=2**22 + 1)
    assert [item["cell"] for item in store.working()] == ["alive"]
    assert store.abandoned() == ["silent"]
    assert [path.name[:5] for path in (store.root / "work").iterdir()] == ["alive"]


def test_a_process_that_took_over_a_number_is_another(store: Store) -> None:
    marker(store, "gone", silent=0, process_started=time.time() - 10**6)
    assert store.abandoned() == ["gone"]


def test_a_folder_without_a_marker_is_removed_once_it_is_old(store: Store) -> None:
    for name, age in (("old", 2 * presence.LOST_AFTER_S), ("new", 0)):
        folder = store.root / "work" / f"{name}.01234567-1.abcd_123"
        folder.mkdir()
        os.utime(folder, (time.time() - age,) * 2)
    assert store.abandoned() == []
    assert [path.name[:3] for path in (store.root / "work").iterdir()] == ["new"]


def test_signs_of_life_are_given_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "BEAT_S", 0.01)
    path = tmp_path / "file"
    path.touch()
    os.utime(path, (1, 1))
    with presence.beating(path):
        deadline = time.monotonic() + 20
        while path.stat().st_mtime == 1 and time.monotonic() < deadline:
            os.sched_yield()
    assert presence.silence(path) < 60
    assert presence.silence(tmp_path / "gone") == float("inf")


def test_the_command_tells_people_and_programs(store: Store, vcbench: Vcbench) -> None:
    leave_run(store, {"new": 1.0, "left": 1.0}, started=time.time() - 20)
    result(store, "new")
    told = vcbench("status", store.root).out
    assert f"{store.root}: 1 cell: 1 ok" in told
    assert "dask, 4 jobs): 7 of 8 done; " in told and " cells per minute, about 2" in told
    (run,) = vcbench("status", store.root, "--json").json["runs"]
    assert (run["done"], run["total"], run["alive"], run["at_least"]) == (7, 8, True, False)
    leave_run(store, {"new": 1.0, "left": 1.0}, started=time.time() - 20, new={"slow": ["left"]})
    assert " cells per minute, time left not known yet" in vcbench("status", store.root).out


def test_a_curve_is_told_when_its_last_cell_is_finished() -> None:
    """Two codecs on a clip, of which one rate point was measured before."""

    def cell(codec: str, rate: int) -> Any:
        return SimpleNamespace(
            name=f"{codec}_{rate}",
            status="ok",
            encode=None,
            decode=SimpleNamespace(seconds=1.0),
            codec=SimpleNamespace(card=SimpleNamespace(name=codec)),
            sequence="clip",
        )

    todo = [cell("a", 1), cell("a", 2), cell("b", 1)]
    watch = Watch(Pace({one.name: 1.0 for one in todo}), todo, total=4)
    assert watch.begin().done == 1
    assert watch.after(todo[0]).curve == ()
    assert watch.after(todo[2]).curve == (todo[2],)
    last = watch.after(todo[1])
    assert (last.curve, last.done, last.total) == ((todo[0], todo[1]), 4, 4)
