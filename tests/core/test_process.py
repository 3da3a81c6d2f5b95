"""Processes: limits, cost, what is said when they fail, and what they leave behind (nothing)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from bench.core import supervisor
from bench.core.process import Process, ProcessError, StoppedError, Supervised, run, stop_programs

pytestmark = pytest.mark.slow

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# memory counts once it was written to
TOUCHED = "block = bytearray({0}); block[::4096] = b'x' * len(block[::4096])"


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def wait_until(condition, seconds: float = 60) -> bool:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "how",
    [
        "{} & wait",
        "setsid {} & wait",
        "(setsid {} &); sleep 600",
        "(trap '' TERM HUP; {} &); kill -STOP $PPID; sleep 600",
    ],
    ids=["same session", "session of its own", "forked twice", "its supervisor stopped"],
)
def test_time_limit_ends_what_the_program_started(tmp_path: Path, monkeypatch, how: str) -> None:
    monkeypatch.setattr("bench.core.process._ENOUGH_S", 1.0)
    script = how.format(f'sh -c "echo \\$\\$ > {tmp_path}/pid; exec sleep 600"')
    started = time.monotonic()
    with pytest.raises(ProcessError) as caught, Process(["sh", "-c", script], time_limit=0.5) as process:
        process.finish()
    assert caught.value.timed_out
    assert "time limit of 0.5 s" in str(caught.value)
    assert time.monotonic() - started < 60
    assert wait_until(lambda: gone(int((tmp_path / "pid").read_text())))


class StoppedAtOnce(Supervised):
    """A program so fast that its supervisor is stopped before it can say that the program has started."""

    def _begin(self, argv, theirs, pass_fds, settings):
        code = (
            "import os, signal, subprocess, sys\n"
            "program = subprocess.Popen(sys.argv[2:])\n"
            "os.write(int(sys.argv[1]), b'begun %d %d\\n' % (program.pid, os.getpid()))\n"
            "os.kill(os.getpid(), signal.SIGSTOP)"
        )
        return subprocess.Popen([*python(code), str(theirs.fileno()), *argv], pass_fds=[theirs.fileno()], **settings)


def test_a_program_that_stops_its_supervisor_at_once_ends_by_its_time_limit(monkeypatch) -> None:
    monkeypatch.setattr("bench.core.process._ENOUGH_S", 0.2)
    with pytest.raises(ProcessError) as caught, Process(["sleep", "600"], time_limit=0.2, begin=StoppedAtOnce) as ends:
        ends.finish()
    assert caught.value.timed_out
    assert wait_until(lambda: gone(ends.pid))


def test_programs_run_where_the_supervisor_is_not_compiled(monkeypatch) -> None:
    """In a folder that cannot be written, or with bytecode switched off."""
    monkeypatch.setattr("bench.core.process._COMPILED", "/nowhere/supervisor.pyc")
    assert run(["echo", "here"])[0] == b"here\n"


def test_a_grandchild_that_holds_the_pipe_open_does_not_outlast_the_time_limit() -> None:
    started = time.monotonic()
    argv = ["sh", "-c", "setsid sleep 600 & sleep 600"]
    with pytest.raises(ProcessError, match="time limit"), Process(argv, stdout="pipe", time_limit=0.3) as process:
        assert process.stdout.read() == b""
        process.finish()
    assert time.monotonic() - started < 60


def test_what_a_program_leaves_behind_is_ended(tmp_path: Path) -> None:
    script = f"sleep 600 >/dev/null 2>&1 & echo $! > {tmp_path}/pid"
    with Process(["sh", "-c", script]) as process:
        process.finish()
    assert wait_until(lambda: gone(int((tmp_path / "pid").read_text())))


def test_error_names_command_status_and_the_end_of_stderr() -> None:
    code = "import sys; sys.stderr.write('x' * 100000 + 'the reason'); sys.exit(7)"
    with pytest.raises(ProcessError) as caught, Process(python(code)) as process:
        process.finish()
    assert caught.value.returncode == 7
    assert caught.value.stderr.endswith("the reason")
    assert len(caught.value.stderr) <= 4000
    assert "exited with status 7" in str(caught.value)
    assert str(caught.value).startswith(sys.executable)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_error_names_the_signal(name: str) -> None:
    code = f"import os, signal; signal.signal(signal.{name}, signal.SIG_DFL) if '{name}' != 'SIGKILL' else None; "
    argv = python(code + f"os.kill(os.getpid(), signal.{name})")
    with pytest.raises(ProcessError, match=f"ended by signal {name}"), Process(argv) as process:
        process.finish()


def test_error_copes_with_a_signal_without_a_name() -> None:
    with pytest.raises(ProcessError, match="ended by signal 40"), Process(["sh", "-c", "kill -40 $$"]) as process:
        process.finish()


@linux_only
@pytest.mark.alone  # memory is looked at every so often, and the program that holds it lives for 0.2 s
@pytest.mark.parametrize("seconds", [0, 0.2], ids=["at once", "held"])
def test_peak_memory_is_the_programs_own(seconds: float) -> None:
    ballast = bytearray(300 << 20)  # this process is large while the small one starts
    ballast[::4096] = bytes([1]) * len(ballast[::4096])
    code = (
        f"import time; block = bytearray(100 << 20); block[::4096] = b'x' * len(block[::4096]); time.sleep({seconds})"
    )
    with Process(python(code)) as process:
        usage = process.finish()
    assert len(ballast) == 300 << 20
    assert 100 << 20 < usage.peak_rss_bytes < 130 << 20 or (not seconds and usage.peak_rss_bytes < 130 << 20)


@linux_only
def test_peak_memory_above_this_process_is_exact_even_for_a_short_one() -> None:
    own = psutil.Process().memory_info().rss
    size = own + (200 << 20)
    with Process(python(TOUCHED.format(size))) as process:
        usage = process.finish()
    assert size < usage.peak_rss_bytes < size + (30 << 20)


@linux_only
def test_peak_memory_counts_children() -> None:
    block = "block = bytearray(60 << 20); block[::4096] = b'x' * len(block[::4096])"
    child = f"{block}; import sys; sys.stdin.read(1)"
    code = f"import subprocess, sys; {block}; p = subprocess.Popen([sys.executable, '-S', '-c', {child!r}], "
    code += "stdin=subprocess.PIPE); p.communicate(sys.stdin.buffer.read())"
    with Process(python(code), stdin="pipe") as process:
        # it is looked for at intervals that grow with the cost of looking: both live until it was found
        for _ in range(600):
            if process.peak_rss_so_far > 120 << 20:
                break
            time.sleep(0.1)
        usage = process.finish()
    assert usage.peak_rss_bytes > 120 << 20


def test_time_spent_on_what_a_program_gave_does_not_count_towards_its_limit() -> None:
    with Process(["cat"], stdin="pipe", stdout="pipe", time_limit=1) as process:
        with process.held():
            time.sleep(1.2)
        process.stdin.write(b"still here")
        process.stdin.close()
        assert process.stdout.read() == b"still here"
        process.finish()
    with Process(["cat"], stdin="pipe", time_limit=0.2) as process:
        time.sleep(0.3)
        with pytest.raises(ProcessError, match=r"time limit of 0\.2 s"):
            process.finish()


def test_cpu_time_is_what_the_program_and_its_children_worked() -> None:
    work = "import time; t = time.process_time()\nwhile time.process_time() - t < {}: pass"
    child = work.format(0.3)
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {child!r}])\n" + work.format(0.2)
    with Process(python(code)) as process:
        usage = process.finish()
    assert 0.5 <= usage.cpu_s < 1.5
    assert usage.wall_s >= usage.cpu_s * 0.9


def test_waiting_costs_no_cpu_time() -> None:
    with Process(["sleep", "0.3"]) as process:
        usage = process.finish()
    assert usage.cpu_s < 0.1
    assert 0.3 <= usage.wall_s < 2


def test_reader_that_stops_early_ends_the_program() -> None:
    with Process(["yes"], stdout="pipe") as process:
        assert process.stdout.read(4) == b"y\ny\n"
        pid = process.pid
    assert not psutil.pid_exists(pid)


def test_finish_does_not_wait_for_output_nobody_reads() -> None:
    with Process(["yes"], stdout="pipe") as process, pytest.raises(ProcessError):
        process.stdout.read(4)
        process.finish()


def test_program_that_stops_reading_tells_its_own_status() -> None:
    with pytest.raises(ProcessError, match="status 3"), Process(["sh", "-c", "exit 3"], stdin="pipe") as process:
        try:
            for _ in range(100):
                process.stdin.write(bytes(1 << 16))
        except BrokenPipeError:
            pass
        process.finish()


@linux_only
def test_nothing_is_left_after_many_runs() -> None:
    def counts() -> tuple[int, int]:
        me = psutil.Process()
        return me.num_fds(), len(me.children(recursive=True))

    with Process(["true"]) as process:
        process.finish()
    before = counts()
    for index in range(50):
        try:
            with Process(["sh", "-c", f"echo x; exit {index % 2}"], stdin="pipe", stdout="pipe") as process:
                process.finish()
        except ProcessError:
            pass
    for _ in range(5):
        with pytest.raises(FileNotFoundError):
            Process(["/no/such/program"])
    assert counts() == before


@linux_only
def test_killed_parent_leaves_no_program_running() -> None:
    code = "from bench.core.process import Process; p = Process(['sleep', '600']); print(p.pid, flush=True); p.finish()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert wait_until(lambda: gone(child))


def test_run_gives_output_errors_and_status() -> None:
    assert run(["sh", "-c", "printf out; printf err >&2; exit 4"]) == (b"out", "err", 4)


def test_run_has_a_time_limit() -> None:
    with pytest.raises(ProcessError, match="time limit"):
        run(["sleep", "600"], time_limit=0.2)


@linux_only
def test_a_program_may_be_ended_by_another_thread_than_it_was_started_by() -> None:
    started: list[Process] = []
    thread = threading.Thread(target=lambda: started.append(Process(["cat"], stdin="pipe", stdout="pipe")))
    thread.start()
    thread.join()
    with started[0] as process:
        process.stdin.write(b"here still")
        process.stdin.close()
        assert process.stdout.read() == b"here still"
        process.finish()


def test_threads_that_are_stopped_end_their_programs_and_start_no_others() -> None:
    outcomes: list[BaseException] = []
    ready = threading.Event()

    def work() -> None:
        for _ in range(2):
            try:
                with Process(["sleep", "600"]) as process:
                    ready.set()
                    process.finish()
            except BaseException as error:
                outcomes.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    stop_programs([thread])
    thread.join()
    assert [type(error) for error in outcomes] == [StoppedError, StoppedError]
    with Process(["true"]) as process:
        process.finish()


@linux_only
def test_cpu_time_of_a_helper_without_a_parent_is_counted(tmp_path: Path) -> None:
    work = f"{sys.executable} -S -c 'import time\nwhile time.process_time() < 0.3: pass'"
    helper = f'(setsid sh -c "{work}; touch done" &)'
    script = f"{helper}; until [ -e done ]; do sleep 0.05; done; sleep 0.3"
    with Process(["sh", "-c", script], cwd=tmp_path) as process:
        usage = process.finish()
    assert usage.cpu_s >= 0.3


@linux_only
def test_a_program_does_not_outlive_its_supervisor() -> None:
    with Process(["sh", "-c", "echo $PPID; exec sleep 600"], stdout="pipe") as process:
        supervisor = int(process.stdout.readline())
        os.kill(supervisor, signal.SIGKILL)
        with pytest.raises(ProcessError, match="SIGKILL"):
            process.finish()
        assert wait_until(lambda: gone(process.pid))


@linux_only
def test_descendants_are_found_without_lists_of_children(monkeypatch) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        sleeper = int(shell.stdout.readline())
        listed = supervisor.family(shell.pid)
        monkeypatch.setattr(supervisor.os.path, "exists", lambda path: False)
        scanned = supervisor.family(shell.pid)
        os.kill(sleeper, signal.SIGKILL)
    assert listed == scanned == [shell.pid, sleeper]
