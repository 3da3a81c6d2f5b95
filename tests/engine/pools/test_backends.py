"""Cells on workers of this machine and of clusters: the same results, also where a worker is lost or differs."""

from __future__ import annotations

import contextlib
import shutil
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import misbehaving
import psutil
import pytest

from bench.cards import Needs
from bench.engine.cell import Task
from bench.engine.executor import execute
from bench.engine.plan import Cell, Plan
from bench.engine.pools import cluster
from bench.engine.pools.backends import InlinePool, LocalPool, LokyPool, open_pool
from bench.engine.pools.parcel import pack, run_parcel
from bench.engine.run import RunOptions, plan, run
from bench.engine.schedule import History, Job, longest_first, single
from bench.engine.store.folder import Store
from bench.errors import UnavailableError, UsageError
from bench.records.cell import CellResult

pytestmark = pytest.mark.slow

ONCE, ALWAYS = "encode-kills-worker", "encode-always-kills-worker"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backends")


@pytest.fixture(scope="module")
def cards(folder: Path) -> Iterator[Path]:
    """Folder with cards of a codec that kills its worker once or always; the program is found by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        misbehaving.install(folder, patch)
        for mode in (ONCE, ALWAYS):
            misbehaving.card(folder, mode)
        yield folder


@pytest.fixture(scope="module")
def dask_scheduler(cards: Path) -> Iterator[str]:
    """Address of a running scheduler with two worker processes, for all tests of this file."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        silence_logs=50,
        memory_limit=0,
        scheduler_kwargs={"allowed_failures": 0, "dashboard_address": ":0"},
    ) as cluster:
        yield cluster.scheduler_address


def options(clip: Path, *codecs: str, rates: tuple[float, ...] | None = (30, 40), **more: Any) -> RunOptions:
    return RunOptions(codecs=codecs, inputs=(clip,), metrics=("psnr_y",), rates=rates, **more)


def measured(results: list[CellResult]) -> dict[str, tuple[Any, ...]]:
    """What must not depend on where a cell ran."""
    return {
        result.name: (
            result.status,
            result.reason,
            result.bitstream,
            result.decoded,
            {name: (item.key, item.value, item.pooled) for name, item in result.measurements.items()},
        )
        for result in results
    }


@pytest.fixture(scope="module")
def quiet(folder: Path, tiny_clip) -> tuple[Path, Plan, dict[str, tuple[Any, ...]]]:
    """A clip, a plan on it and what the plan gives in this process."""
    planned = plan(options(tiny_clip(), "x264", "x265"))
    return tiny_clip(), planned, measured(run(planned, Store.create(folder / "quiet")))


def test_a_dask_scheduler_of_the_users_gives_what_one_process_gives(
    tmp_path: Path, dask_scheduler: str, quiet: tuple[Path, Plan, dict[str, Any]]
) -> None:
    _, planned, expected = quiet
    seen = []
    with open_pool("dask", scheduler=dask_scheduler) as pool:
        results = run(planned, Store.create(tmp_path), pool=pool, progress=seen.append)
    assert measured(results) == expected
    assert {result.provenance["backend"] for result in results} == {"dask"}
    assert {result.provenance["jobs"] for result in results} == {2}
    assert [progress.done for progress in seen] == [0, 1, 2, 3, 4]
    assert seen[0].rate is None
    assert seen[-1].left_s == pytest.approx(0, abs=1e-6)


def test_a_dask_worker_that_is_killed_loses_no_cell(
    tmp_path: Path, dask_scheduler: str, cards: Path, tiny_clip
) -> None:
    wanted = options(tiny_clip(), f"test-{ONCE}", rates=(0, 1, 2), paths=(cards,), trust=True)
    with open_pool("dask", scheduler=dask_scheduler) as pool:
        results = run(plan(wanted), Store.create(tmp_path), pool=pool)
    assert (cards / "once").exists()
    assert [(result.status, result.reason) for result in results] == [("ok", None)] * 3
    assert {result.measurements["psnr_y"].value for result in results} == {float("inf")}


def test_a_cell_that_kills_every_worker_fails_and_the_others_are_measured(
    tmp_path: Path, dask_scheduler: str, cards: Path, tiny_clip
) -> None:
    wanted = options(tiny_clip(), f"test-{ALWAYS}", f"test-{ONCE}", rates=(0,), paths=(cards,), trust=True)
    with open_pool("dask", scheduler=dask_scheduler) as pool:
        bad, good = run(plan(wanted), Store.create(tmp_path), pool=pool)
    assert (bad.status, bad.reason) == ("failed", "worker_lost")
    assert (good.status, good.message) == ("ok", None)


def test_workers_that_do_not_listen_do_not_hold_up_the_end(
    tmp_path: Path, quiet: tuple[Path, Plan, dict[str, Any]]
) -> None:
    """As when one of them was killed while it held the lock of the queue that they all read."""
    pool = LokyPool(2)
    run(replace(quiet[1], cells=quiet[1].cells[:2]), Store.create(tmp_path), pool=pool)
    workers = [child for child in psutil.Process().children() if any("popen_loky" in word for word in child.cmdline())]
    assert len(workers) == 2
    for worker in workers:
        worker.suspend()
    closing = threading.Thread(target=pool.close)
    closing.start()
    closing.join(60)
    ended = not closing.is_alive()
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.resume()
    closing.join()
    assert ended


def needing_a_gpu(planned: Plan) -> Plan:
    def changed(cell: Cell) -> Cell:
        return replace(
            cell, codec=replace(cell.codec, card=cell.codec.card.model_copy(update={"needs": Needs(gpu=True)}))
        )

    return replace(planned, cells=tuple(map(changed, planned.cells)))


def test_a_gpu_cell_waits_for_no_worker_without_one(
    tmp_path: Path, dask_scheduler: str, quiet: tuple[Path, Plan, dict[str, Any]]
) -> None:
    planned = needing_a_gpu(replace(quiet[1], cells=quiet[1].cells[:1]))
    with open_pool("dask", scheduler=dask_scheduler) as pool:
        (result,) = run(planned, Store.create(tmp_path), pool=pool)
    assert (result.status, result.reason) == ("failed", "no_worker")
    assert '--resources "GPU=1"' in str(result.message)


def test_a_ray_cluster_gives_what_one_process_gives_and_says_when_it_is_gone(
    tmp_path: Path, quiet: tuple[Path, Plan, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    _, planned, expected = quiet
    # what Ray says of its own future, and the files that it leaves for the collector
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with open_pool("ray", 1) as pool:
        try:
            pool.start()
        except UnavailableError as error:
            pytest.skip(str(error))
        assert measured(run(planned, Store.create(tmp_path / "r"), pool=pool)) == expected
        (node,) = [child for child in psutil.Process().children() if "raylet" in child.name()]
        node.kill()
        with pytest.raises(UnavailableError, match="Ray node of this machine has gone"):
            run(planned, Store.create(tmp_path / "again"), pool=pool)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backend": "dusk"}, "unknown backend 'dusk'"),
        ({"backend": "loky", "scheduler": "tcp://host:8786"}, "give --backend dask or ray"),
        ({"backend": "dask", "timing": True}, "leave --backend dask out"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says), open_pool(**settings):
        pass


@pytest.fixture
def task(tmp_path: Path, quiet: tuple[Path, Plan, dict[str, Any]]) -> Task:
    """One cell on a clip of its own, as a driver hands it out."""
    clip = tmp_path / "clip.y4m"
    clip.write_bytes(quiet[0].read_bytes())
    planned = plan(options(clip, "x264", rates=(40,)))
    return Task(planned.cells, planned.metrics, Store.create(tmp_path / "out").root, {"cpu": "the driver's"})


def test_a_worker_measures_what_the_driver_would_and_says_who_it_is(task: Task) -> None:
    (result,) = run_parcel(pack(task))
    assert result.status == "ok"
    assert result.name == task.cells[0].name
    assert result.provenance["cpu"] != "the driver's"
    assert result.provenance["worker"]
    assert run_parcel(pack(task)) == [result]


def test_a_worker_without_the_clip_says_so(task: Task) -> None:
    parcel = pack(task)
    task.cells[0].sequence.path.unlink()
    (result,) = run_parcel(parcel)
    assert (result.status, result.reason) == ("failed", "source")
    assert f"{task.cells[0].sequence.path} is not there" in str(result.message)
    assert "--copy-inputs" in str(result.message)
    assert Store(task.root).read(result.name) == result


def test_a_worker_whose_clip_has_other_bytes_says_so(task: Task) -> None:
    parcel = pack(task)
    content = bytearray(task.cells[0].sequence.path.read_bytes())
    content[-1] ^= 1
    task.cells[0].sequence.path.write_bytes(content)
    (result,) = run_parcel(parcel)
    assert (result.status, result.reason) == ("failed", "source")
    assert "has other bytes" in str(result.message)


def test_a_clip_is_found_by_its_digest_in_the_result_folder(task: Task) -> None:
    parcel = pack(task)
    clip = task.cells[0].sequence
    Store(task.root).keep_source(clip.path, clip.source.digest())
    clip.path.unlink()
    (result,) = run_parcel(parcel)
    assert (result.status, result.message) == ("ok", None)


def test_a_folder_of_pictures_is_copied_whole(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "out")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(b"one")
    copy = store.keep_source(tmp_path / "pictures", "abc")
    assert [path.name for path in copy.iterdir()] == ["1.png"]
    assert [path.name for path in copy.parent.iterdir()] == ["abc"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda parcel: replace(parcel, version="0.0.1"), "the run 0.0.1; install the same"),
        (
            lambda parcel: replace(
                parcel, task=replace(parcel.task, cells=(replace(parcel.task.cells[0], tool={"ffmpeg": "0.1"}),))
            ),
            "the cell is of ffmpeg 0.1",
        ),
        (
            lambda parcel: replace(parcel, task=replace(parcel.task, metrics={"psnr_y": "another"})),
            "measures psnr_y by another definition",
        ),
    ],
)
def test_a_worker_that_differs_measures_nothing_under_a_wrong_name(task: Task, change: Any, says: str) -> None:
    (result,) = run_parcel(change(pack(task)))
    assert (result.status, result.reason) == ("failed", "worker_differs")
    assert says in str(result.message)
    assert list((task.root / "bitstreams").iterdir()) == []


def test_a_card_that_lies_elsewhere_on_the_worker_is_found_by_its_name(task: Task, tmp_path: Path) -> None:
    parcel = pack(task)
    (cell,) = parcel.task.cells
    moved = replace(cell, codec=replace(cell.codec, folder=tmp_path / "not" / "here"))
    (result,) = run_parcel(replace(parcel, task=replace(parcel.task, cells=(moved,))))
    assert (result.status, result.message) == ("ok", None)


COPIER = """
name = "copier"
title = "a program that a variable names"
adapter = "command"
licence = "none"
gop = "all intra"
extension = "bin"
rates = { parameter = "index", values = [0], minimum = 0, maximum = 9 }
[settings]
get = "It is part of the test."
encoder = { env = "COPIER", arguments = ["{input}", "{bitstream}"] }
decoder = { env = "COPIER", arguments = ["{bitstream}", "{output}"] }
"""


@pytest.fixture
def copier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with a card that runs a program, as the cards of reference encoders do, and so needs trust."""
    program = tmp_path / "copy"
    program.write_text('#!/bin/sh\nexec cp "$1" "$2"\n')
    program.chmod(0o755)
    monkeypatch.setenv("COPIER", str(program))
    return write_card(tmp_path / "driver" / "codecs")


def write_card(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "copier.toml").write_text(COPIER)
    return folder


@pytest.mark.parametrize("shared", [True, False], ids=["the driver's folder is there too", "it is not"])
def test_what_comes_with_vcbench_is_trusted_on_a_worker_wherever_it_lies_there(
    tmp_path: Path, copier: Path, tiny_clip, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    def installed_in(folder: Path) -> None:
        monkeypatch.setattr("bench.cards.brought", lambda kind: (folder, folder))
        monkeypatch.setattr("bench.engine.pools.parcel.brought", lambda kind: (folder, folder))

    installed_in(copier)
    planned = plan(options(tiny_clip(), "copier", rates=None))
    parcel = pack(Task(planned.cells, planned.metrics, Store.create(tmp_path / "out").root, {}))
    installed_in(write_card(tmp_path / "worker" / "codecs"))
    if not shared:
        shutil.rmtree(copier)
    (result,) = run_parcel(parcel)
    assert (result.status, result.message) == ("ok", None)


def test_a_card_of_the_users_is_trusted_on_a_worker_as_far_as_by_the_driver(
    tmp_path: Path, copier: Path, tiny_clip
) -> None:
    planned = plan(options(tiny_clip(), "copier", rates=None, paths=(copier,), trust=True))
    (cell,) = planned.cells
    task = Task((cell,), planned.metrics, Store.create(tmp_path / "out").root, {})
    untrusted = replace(cell, codec=replace(cell.codec, trust=False))
    (result,) = run_parcel(pack(replace(task, cells=(untrusted,))))
    assert result.reason == "worker_differs"
    assert "give --trust" in str(result.message)
    (result,) = run_parcel(pack(task))
    assert (result.status, result.message) == ("ok", None)


def job(seconds: float = 1.0, *, memory: int = 0, gpu: bool = False, cells: int = 1) -> Job:
    named = tuple(SimpleNamespace(name=f"cell{index}") for index in range(cells))
    return Job(Task(named, {}, Path(), {}), seconds, memory, gpu)  # type: ignore[arg-type]


class Emptied(cluster.DaskPool):
    """A cluster of our own whose workers are those that a test names."""

    workers = 0

    def _connect(self) -> None:
        pass

    def _survey(self) -> tuple[int, list[Any]]:
        return self.workers, []


def test_an_own_cluster_whose_workers_do_not_start_again_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(cluster, "_NO_WORKERS_S", 0.05)
    pool = Emptied(None, 2)
    pool.start()
    with pytest.raises(UnavailableError, match=r"no dask worker of this machine .* what is finished is stored"):
        pool.take()


@pytest.mark.parametrize(("scheduler", "workers"), [(None, 1), ("tcp://host:8786", 0)])
def test_a_cluster_that_works_or_that_grows_is_waited_for(
    scheduler: str | None, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours has a worker that takes its time; the user's may start workers whenever it likes."""
    monkeypatch.setattr(cluster, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(cluster, "_NO_WORKERS_S", 0.1)
    pool = Emptied(scheduler, 2)
    pool.workers = workers
    pool.start()
    done: Future[list[CellResult]] = Future()
    done.set_result([])
    threading.Timer(0.2, lambda: pool._ended.put((job(), done))).start()
    assert pool.take()[1] == []


class Room(InlinePool):
    """A pool of two on a machine of ten bytes with a GPU."""

    def __init__(self) -> None:
        LocalPool.__init__(self, 2)
        self._memory, self._gpus = 10, 1


def test_hungry_jobs_wait_for_room_and_one_alone_always_has_it() -> None:
    pool = Room()
    assert pool.has_room(job(memory=4), [job(memory=6)])
    assert not pool.has_room(job(memory=5), [job(memory=6)])
    assert pool.has_room(job(memory=50), [])
    assert not pool.has_room(job(), [job(), job()])


def test_one_job_at_a_time_has_the_gpu() -> None:
    pool = Room()
    assert pool.has_room(job(gpu=True), [job()])
    assert not pool.has_room(job(gpu=True), [job(gpu=True)])
    assert pool.refusal(job(gpu=True)) is None
    pool._gpus = 0
    assert "this machine has none" in str(pool.refusal(job(gpu=True)))


def test_the_longest_by_the_stores_own_times_go_first(
    tmp_path: Path, folder: Path, quiet: tuple[Path, Plan, dict[str, Any]]
) -> None:
    """The x265 cells of the quiet run are given times a hundred times those of x264."""
    _, planned, _ = quiet
    store, known = Store.create(tmp_path), Store(folder / "quiet")
    for cell in planned.cells:
        result = known.read(cell.name)
        assert result is not None and result.encode is not None and result.decode is not None
        slow = 100.0 if cell.codec.card.name == "x265" else 1.0
        costs = {
            name: cost.model_copy(update={"seconds": slow * cell.rate.value, "peak_rss_bytes": int(slow) * 10**6})
            for name, cost in (("encode", result.encode), ("decode", result.decode))
        }
        store.write(result.model_copy(update=costs))
    (store.root / "cells" / "damaged.json").write_text("{")
    history = History(store)
    tasks = [Task((cell,), planned.metrics, store.root, {}) for cell in planned.cells]
    ordered = [item.task.cells[0] for item in longest_first(map(history.job, tasks))]
    assert [(cell.codec.card.name, cell.rate.value) for cell in ordered] == [
        ("x265", 40), ("x265", 30), ("x264", 40), ("x264", 30)
    ]  # fmt: skip
    assert history.seconds(ordered[0]) == pytest.approx(2 * 100 * 40)
    assert (history.memory(ordered[0]), history.memory(ordered[-1])) == (100 * 10**6, 10**6)
    larger = replace(ordered[0].sequence, format=replace(ordered[0].sequence.format, width=128, height=128))
    assert history.memory(replace(ordered[0], sequence=larger)) == 4 * 100 * 10**6


def test_a_codec_that_was_never_measured_counts_as_the_slowest(
    folder: Path, quiet: tuple[Path, Plan, dict[str, Any]]
) -> None:
    _, planned, _ = quiet
    history = History(Store(folder / "quiet"))
    (cell,) = plan(options(quiet[0], "vp9", rates=(40,))).cells
    assert history.seconds(cell) == max(history.seconds(other) for other in planned.cells)
    assert history.memory(cell) == 0


def test_what_a_card_states_counts_where_nothing_was_measured(folder: Path, quiet: tuple[Path, Plan, Any]) -> None:
    (cell,) = plan(options(quiet[0], "vp9", rates=(40,))).cells
    card = cell.codec.card.model_copy(update={"needs": Needs(memory_gb=2.5)})
    stated = replace(cell, codec=replace(cell.codec, card=card))
    assert History(Store(folder / "quiet")).memory(stated) == 2_500_000_000
    assert card.digest() == cell.codec.card.digest()


def test_a_job_is_taken_apart_into_its_cells() -> None:
    parts = single(job(6.0, memory=9, cells=3))
    assert [part.names for part in parts] == [("cell0",), ("cell1",), ("cell2",)]
    assert {(part.seconds, part.memory) for part in parts} == {(2.0, 3)}


class Losing(InlinePool):
    """A pool whose worker is lost, the first times, before the job begins."""

    def __init__(self, times: int) -> None:
        super().__init__(1)
        self.lost, self.given = times, 0

    def take(self) -> tuple[Job, list[CellResult] | None]:
        taken, results = super().take()
        self.given += 1
        self.lost -= 1
        return taken, None if self.lost >= 0 else results


def test_a_job_that_was_never_begun_is_no_suspect(tmp_path: Path, quiet: tuple[Path, Plan, dict[str, Any]]) -> None:
    _, planned, expected = quiet
    store, pool = Store.create(tmp_path), Losing(1)
    history = History(store)
    jobs = [history.job(Task((cell,), planned.metrics, store.root, {})) for cell in planned.cells]
    results = list(execute(jobs, store, pool))
    assert measured(results) == expected
    assert pool.given == len(jobs) + 1


def test_the_process_of_a_pool_of_one_is_this_one(tmp_path: Path, quiet: tuple[Path, Plan, dict[str, Any]]) -> None:
    with open_pool("loky", 1) as pool:
        assert isinstance(pool, InlinePool)
        results = run(replace(quiet[1], cells=quiet[1].cells[:1]), Store.create(tmp_path), pool=pool)
    assert results[0].provenance["backend"] == "none"


def test_no_warning_of_loky_gets_through() -> None:
    """It warns in a thread of its own that a worker is gone, as of a memory leak."""
    with warnings.catch_warnings(record=True) as caught, contextlib.closing(LokyPool(1)):
        text = "A worker stopped while some jobs were given to the executor. This can be caused by a memory leak."
        thread = threading.Thread(target=warnings.warn, args=(text, UserWarning))
        thread.start()
        thread.join()
    assert caught == []
