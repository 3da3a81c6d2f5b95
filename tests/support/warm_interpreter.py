"""An interpreter that has imported torch: each program given to it runs in a fork, without two seconds of imports.

For tests of codecs that run in an interpreter of the user's: `warm_interpreter` writes one that a variable can name.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLIENT = """#!{python} -IS
import json, os, socket, sys

channel = int(os.environ.get("VCBENCH_WORKER_FD", 2))
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), channel]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2, channel])
    server.sendall(request)
    code = server.recv(1)
os._exit(code[0] if code else 1)
"""


@contextmanager
def warm_interpreter(folder: Path) -> Iterator[Path]:
    """A program in ``folder`` that runs FILE or -c CODE as the interpreter of these tests does, until this is left."""
    address, program = str(folder / "warm.sock"), folder / "python"
    program.write_text(_CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        argv = [sys.executable, "-P", __file__, str(listening.fileno())]
        server = subprocess.Popen(argv, pass_fds=[listening.fileno()])
    try:
        yield program
    finally:
        server.terminate()
        server.wait()


def _serve(listening: socket.socket) -> None:
    import torch  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        client, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _run(client)
        client.close()


def _run(client: socket.socket) -> None:
    """Become the program that a client asks for, with its files, and end with its exit status."""
    status = 1
    try:
        head, files, _, _ = socket.recv_fds(client, 4, 4)
        with client.makefile("rb") as stream:
            arguments, folder, environment, channel = json.loads(stream.read(int.from_bytes(head, "big")))
        kept = [os.dup(file) for file in (*files, client.fileno())]
        for file, number in zip(kept, (0, 1, 2, channel), strict=False):
            os.dup2(file, number)
        client = socket.socket(fileno=kept[-1])
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        first, *rest = arguments
        if first == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(rest[0], {"__name__": "__main__"})
        else:
            sys.argv = arguments
            sys.path[0] = str(Path(first).parent)
            runpy.run_path(first, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(bytes([status]))
        os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
