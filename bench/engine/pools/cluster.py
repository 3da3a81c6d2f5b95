"""Workers on other machines, through Dask and Ray: each runs a job again itself when the worker is lost."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from queue import Empty
from typing import Any, ClassVar

from bench.core.process import cpu_count
from bench.engine.pools.base import Outcome, Pool, memory_limit
from bench.engine.pools.parcel import pack, run_parcel
from bench.engine.provenance import gpu_count
from bench.engine.schedule import Job
from bench.errors import UnavailableError
from bench.records.cell import CellResult

ATTEMPTS = 3
"""How often a job is run whose worker is lost each time."""

_LOG = logging.getLogger(__name__)

_WAIT_FOR_WORKERS_S = 10
_LOOK_EVERY_S = 10
_NO_WORKERS_S = 120
"""How long our own cluster may be without a worker, each of which starts again when it ends."""

_SEEN_WAITING = 64
_AHEAD = 2
"""Jobs under way for each that runs, so that a worker finds its next at once."""


class _ClusterPool(Pool):
    """A cluster, ours or a running one, that is connected to when it is needed."""

    tries_again = True

    def __init__(self, scheduler: str | None, jobs: int | None) -> None:
        super().__init__(0)
        self._scheduler = scheduler
        self._jobs = jobs
        self._connected = False
        self._at_once = 0
        self._offers: list[Mapping[str, float]] = []
        self._looked = 0.0
        self._last_there = time.monotonic()

    def start(self) -> None:
        if not self._connected:
            self._connect()
            self._last_there = time.monotonic()
            self._connected = True
        self._look()

    @property
    def at_once(self) -> int:
        return self._at_once

    @abstractmethod
    def _connect(self) -> None:
        """Reach the cluster; UnavailableError where there is none."""

    @abstractmethod
    def _survey(self) -> tuple[int, list[Mapping[str, float]]]:
        """How many jobs the workers can run at once, and what else each offers."""

    def _look(self) -> None:
        """Workers come and go: see which there are."""
        there, self._offers = self._survey()
        if there:
            self._last_there = time.monotonic()
        self._at_once = max(1, min(there, self._jobs or there))
        waiting = 0 if self._scheduler is None else _SEEN_WAITING  # to a cluster that grows with what waits
        slots = max(_AHEAD * self._at_once, waiting)
        self.slots = slots if self._scheduler is None else min(self._jobs or slots, slots)
        self._looked = time.monotonic()

    def _next(self) -> tuple[Job, Outcome]:
        while True:
            if time.monotonic() - self._looked > _LOOK_EVERY_S:
                self._look()
            try:
                return self._ended.get(timeout=_LOOK_EVERY_S)
            except Empty:
                self._look()
                alone = time.monotonic() - self._last_there
                if self._scheduler is None and alone > _NO_WORKERS_S:
                    raise UnavailableError(
                        f"no {self.name} worker of this machine has been there for {alone:.0f} s, and none starts "
                        "again; what is finished is stored. Free memory and give the same command again, or use "
                        "--backend loky"
                    ) from None

    def has_room(self, job: Job, running: Collection[Job]) -> bool:
        # our own workers share the memory of this machine
        alone = self._scheduler is None and sum(other.memory for other in running) + job.memory > memory_limit()
        return super().has_room(job, running) and not (running and alone)

    def refusal(self, job: Job) -> str | None:
        if job.gpu and self._offers and not any(offer.get("GPU") for offer in self._offers):
            return f"it needs a GPU and no worker of the {self.name} cluster offers one; {self._how_to_offer}"
        return None

    _how_to_offer: ClassVar[str]


class DaskPool(_ClusterPool):
    """Workers of a Dask scheduler, or of a cluster of our own on this machine.

    Of workers that declare ``GPU`` or ``MEMORY`` (bytes) as resources, a job takes what it needs.
    """

    name = "dask"
    _how_to_offer = 'start one with: dask worker SCHEDULER --resources "GPU=1"'

    def __init__(self, scheduler: str | None, jobs: int | None) -> None:
        super().__init__(scheduler, jobs)
        self._client: Any = None
        self._cluster: Any = None

    def _connect(self) -> None:
        try:
            from distributed import Client, LocalCluster
        except ImportError:
            raise UnavailableError('Dask is not installed here; pip install "vcbench[dask]"') from None
        if self._scheduler is None:
            gpus = gpu_count()
            self._cluster = LocalCluster(
                n_workers=self._jobs or cpu_count(),
                threads_per_worker=1,
                processes=True,
                # what fills the memory are encoders and frames, of which Dask knows nothing
                memory_limit=0,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
                resources={"GPU": 1} if gpus else {},
                # without a dashboard the scheduler still takes a port: 8787, unless it is to choose a free one
                scheduler_kwargs={"allowed_failures": ATTEMPTS - 1, "dashboard_address": ":0"},
            )
            target: dict[str, Any] = {"address": self._cluster}
        elif Path(self._scheduler).is_file():
            target = {"scheduler_file": self._scheduler}
        else:
            target = {"address": self._scheduler}
        try:
            self._client = Client(**target, timeout="15s", set_as_default=False)
        except (OSError, ValueError) as error:
            where = self._scheduler or "this machine"
            self.close()
            raise UnavailableError(
                f"--scheduler {where}: no Dask scheduler answers ({error}); start one with: dask scheduler"
            ) from None
        try:
            self._client.wait_for_workers(1, timeout=_WAIT_FOR_WORKERS_S)
        except TimeoutError:  # a cluster may start workers only once there is work
            _LOG.warning(
                "the Dask scheduler %s has no worker yet; start some with: dask worker ADDRESS", self._scheduler
            )

    def _survey(self) -> tuple[int, list[Mapping[str, float]]]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(worker["nthreads"] for worker in workers), [worker.get("resources") or {} for worker in workers]

    def _start(self, job: Job) -> Outcome:
        return self._client.submit(  # type: ignore[no-any-return]
            run_parcel, pack(job.task), pure=False, resources=self._resources(job) or None
        )

    def _resources(self, job: Job) -> dict[str, float]:
        wanted: dict[str, float] = {"GPU": 1} if job.gpu else {}
        # a job that is larger than the largest worker has that one for itself
        largest = max((offer.get("MEMORY", 0) for offer in self._offers), default=0)
        if job.memory and largest:
            wanted["MEMORY"] = min(job.memory, largest)
        return wanted

    def take(self) -> tuple[Job, list[CellResult] | None]:
        from concurrent.futures import CancelledError

        try:
            return super().take()
        except CancelledError:
            raise UnavailableError(
                f"the Dask scheduler {self._scheduler or 'of this machine'} has gone; what is finished is stored, "
                "the same command continues"
            ) from None

    def _lost(self) -> tuple[type[BaseException], ...]:
        from distributed import KilledWorker

        return (KilledWorker,)

    def close(self) -> None:
        for part in (self._client, self._cluster):
            if part is not None:
                part.close()
        self._client = self._cluster = None


class RayPool(_ClusterPool):
    """Workers of a Ray cluster, or of one of our own on this machine. A job takes one CPU, its memory, and its GPU."""

    name = "ray"
    _how_to_offer = "start a node with: ray start --address HEAD --num-gpus 1"

    def _connect(self) -> None:
        try:
            import ray
        except ImportError:
            raise UnavailableError('Ray is not installed here; pip install "vcbench[ray]"') from None
        ours: dict[str, Any] = {
            "num_cpus": self._jobs or cpu_count(),
            "num_gpus": gpu_count(),
            "include_dashboard": False,
            "_system_config": {"agent_register_timeout_ms": 120_000},  # a busy machine is slow to start its agents
        }
        try:
            ray.init(
                address=self._scheduler or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if self._scheduler else ours),
            )
        except Exception as error:  # Ray raises bare ones
            what = (
                f"--scheduler {self._scheduler}: no Ray cluster answers; start one with: ray start --head"
                if self._scheduler
                else "Ray did not start here; see /tmp/ray/session_latest/logs, or give --backend loky"
            )
            raise UnavailableError(f"{what} ({str(error).splitlines()[0]})") from None
        self._run = ray.remote(run_parcel)

    def _survey(self) -> tuple[int, list[Mapping[str, float]]]:
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return int(sum(node.get("CPU", 0) for node in nodes)), nodes

    def _start(self, job: Job) -> Outcome:
        largest = max((node.get("memory", 0) for node in self._offers), default=0)
        options = {
            "num_cpus": 1,
            "num_gpus": 1 if job.gpu else 0,
            "memory": min(job.memory, largest) or None,
            "max_retries": ATTEMPTS - 1,
        }
        return self._run.options(**options).remote(pack(job.task)).future()  # type: ignore[no-any-return]

    def take(self) -> tuple[Job, list[CellResult] | None]:
        from ray.exceptions import LocalRayletDiedError, RaySystemError

        try:
            return super().take()
        except (LocalRayletDiedError, RaySystemError):
            raise UnavailableError(
                f"the Ray node {self._scheduler or 'of this machine'} has gone; what is finished is stored, "
                "the same command continues"
            ) from None

    def _lost(self) -> tuple[type[BaseException], ...]:
        from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

        return (NodeDiedError, OutOfMemoryError, WorkerCrashedError)

    def close(self) -> None:
        if self._connected:
            import ray

            ray.shutdown()
