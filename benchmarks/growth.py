"""What a cell costs the driver as runs grow: ``python benchmarks/growth.py [--cells 10,100,1000,10000] [--svg FILE]``.

A plan of so many cells whose workers write a result and do nothing else; the driver is the real one, from the plan to
the last result, with one worker in its own process. Printed are its CPU seconds by themselves and for each cell, of a
run and of the same run again, which finds everything measured. ``--svg`` draws both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path

from neural_cells import clip
from scaling import many_cells, pretend

from bench.engine.pools.backends import InlinePool
from bench.engine.pools.base import Outcome
from bench.engine.pools.parcel import pack
from bench.engine.run import run
from bench.engine.schedule import Job
from bench.engine.store.folder import Store


class PretendingPool(InlinePool):
    """A worker in this process, whose cells take no time."""

    def _start(self, job: Job) -> Outcome:
        future: Future[object] = Future()
        future.set_result(pretend(pack(job.task), 0.0))
        return future  # type: ignore[return-value]


def measure(number: int) -> tuple[float, float]:
    """CPU seconds of a run of so many cells, and of the same run again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned = many_cells(clip(folder, 2), number)
        took = []
        for _ in range(2):
            pool = PretendingPool(1)
            before = time.process_time()
            results = run(planned, Store.create(folder / "out"), pool=pool)
            took.append(time.process_time() - before)
            pool.close()
            assert len(results) == number
        return took[0], took[1]


def draw(costs: dict[int, tuple[float, float]], path: Path) -> None:
    """CPU seconds over cells, both axes logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for index, (label, marker) in enumerate((("run", "o"), ("the same run again", "s"))):
        axes.loglog(list(costs), [cost[index] for cost in costs.values()], marker=marker, label=label)
    axes.set(xlabel="cells", ylabel="CPU time of the driver (s)")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="10,100,1000,10000")
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    costs = {}
    for number in map(int, options.cells.split(",")):
        costs[number] = measure(number)
        run_s, again_s = costs[number]
        print(
            f"{number:6} cells: {run_s:7.2f} s, {1000 * run_s / number:6.2f} ms per cell; "
            f"again {again_s:6.2f} s, {1000 * again_s / number:5.2f} ms per cell",
            flush=True,
        )
    if options.svg:
        draw(costs, options.svg)


if __name__ == "__main__":
    main()
