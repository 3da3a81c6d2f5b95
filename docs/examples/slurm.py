"""Runs cells on a SLURM cluster: workers are SLURM jobs that come when there is work and go when there is none.

Start it on the login node, in a folder that every node sees: python slurm.py
"""

from dask_jobqueue import SLURMCluster

import bench

OUT = "results/uvg"

if __name__ == "__main__":
    cluster = SLURMCluster(
        queue="cpu",
        cores=8,  # of one job: so many workers, a cell each
        processes=8,
        memory="32GB",
        walltime="08:00:00",
        # SLURM holds the job to its memory; Dask would end a worker whose metrics take more than an even share of it.
        # The card of a codec that needs a GPU says so, and its cells go to workers that offer one: add
        # "--resources", "GPU=1" here, and job_extra_directives=["--gres=gpu:1"]
        worker_extra_args=["--memory-limit", "0"],
        local_directory="$TMPDIR",
    )
    cluster.adapt(maximum_jobs=20)
    results = bench.run(
        ["x265", "vvenc"], datasets=["uvg"], out=OUT, backend="dask", scheduler=cluster.scheduler_address, jobs=None
    )
    print(f"{len(results.cells)} cells in {OUT}; watch a run with: vcbench status {OUT}")
