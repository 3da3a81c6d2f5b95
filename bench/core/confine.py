"""Start a program in a sandbox: ``python -I -S confine.py SPEC PROGRAM ARGUMENT...``, SPEC being JSON.

`bench.core.sandbox` writes the command line. This file imports nothing of vcbench's, so that it starts in
milliseconds. It sets the limits, takes the environment down to what is listed, and then either executes bubblewrap or
does the same by Linux namespaces, or by Landlock and seccomp where namespaces are forbidden. A step that fails ends it
with status 125.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import stat
import sys
from typing import Any

FAILED = 125
"""Exit status of a sandbox that could not be made; the program was not started then."""

_libc = ctypes.CDLL(None, use_errno=True)

_NEW_NAMESPACES = 0x10000000 | 0x00020000 | 0x40000000 | 0x20000000 | 0x08000000 | 0x04000000  # user ns net pid ipc uts
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_MOUNT_SETATTR, _PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = -100, 0x8000, 1
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_DEVICES = ("null", "zero", "full", "random", "urandom")


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = (text.encode() if text is not None else None for text in (source, target, kind))
    _check(_libc.mount(*texts, flags, data.encode() if data else None), f"mount {target}")


def _read_only(path: str, *, below: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    flags = _AT_RECURSIVE if below else 0
    size = ctypes.sizeof(attributes)
    _check(
        _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, ctypes.byref(attributes), size),
        f"making {path} read-only (Linux 5.12 or newer)",
    )


def limit(spec: dict[str, Any]) -> None:
    """Bounds of each process: memory, the size of a file, no core dumps."""
    for kind, most in (
        (resource.RLIMIT_DATA, spec["memory"]),
        (resource.RLIMIT_FSIZE, spec["file"]),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))


def by_namespaces(spec: dict[str, Any], argv: list[str]) -> int:
    """Run a program in namespaces of its own; its exit status."""
    user, group = os.getuid(), os.getgid()
    _check(_libc.unshare(_NEW_NAMESPACES), "unshare")
    for name, content in (
        ("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1"),
    ):  # fmt: skip
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(content)
    first = os.fork()
    if first:
        return _relayed(first)
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    _enter(spec)
    program = os.fork()
    if not program:
        _execute(spec, argv)
    # the first process of the namespace collects what is left over; all ends with it
    status = 0
    while True:
        pid, ended = os.wait()
        if pid == program:
            status = ended
            break
    os._exit(_as_shell(status))


def _relayed(pid: int) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(pid, signal.SIGKILL))
    _, status = os.waitpid(pid, 0)
    return _as_shell(status)


def _as_shell(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _enter(spec: dict[str, Any]) -> None:
    """Make a file system of what may be seen, and make it the root."""
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    base = "/tmp"
    _mount("tmpfs", base, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    os.mkdir(f"{base}/old")
    os.mkdir(f"{base}/new")
    _check(_libc.syscall(_PIVOT_ROOT[platform.machine()], base.encode(), f"{base}/old".encode()), "pivot_root")
    os.chdir("/")
    _mount("/new", "/new", None, _MS_BIND | _MS_REC)
    for link, target in spec["links"].items():
        os.makedirs(os.path.dirname(f"/new{link}"), exist_ok=True)
        os.symlink(target, f"/new{link}")
    for folder in ("/tmp", "/proc", "/dev"):
        os.makedirs(f"/new{folder}", exist_ok=True)
    _mount("tmpfs", "/new/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=1777,size={spec['temporary']}")
    _mount("proc", "/new/proc", "proc", _MS_NOSUID | _MS_NODEV)
    _mount("tmpfs", "/new/dev", "tmpfs", _MS_NOSUID, "mode=755")
    devices = [f"/dev/{name}" for name in _DEVICES] + spec["devices"]
    for path in devices:
        _bind(path)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/new/dev/{name}")
    os.symlink("/proc/self/fd", "/new/dev/fd")
    os.mkdir("/new/dev/shm")
    for path in spec["read"]:
        if _bind(path):
            _read_only(f"/new{path}", below=True)
    for path in spec["write"]:
        _bind(path)
    os.chdir("/new")
    _check(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")
    _read_only("/", below=False)
    _read_only("/dev", below=False)


def _bind(path: str) -> bool:
    target = f"/new{path}"
    try:
        is_folder = stat.S_ISDIR(os.stat(_followed(path)).st_mode)
    except OSError:
        return False
    if not os.path.lexists(target):
        os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)
        if not is_folder:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(_followed(path), target, None, _MS_BIND | _MS_REC)
    return True


def _followed(path: str) -> str:
    """Where a path of the old root leads, links followed below that root."""
    parts = [part for part in path.split("/") if part]
    found, seen = "/old", 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            found = os.path.dirname(found) if found != "/old" else found
            continue
        step = f"{found}/{part}"
        if os.path.islink(step):
            seen += 1
            if seen > 40:
                raise OSError(f"{path}: too many links")
            target = os.readlink(step)
            parts = [piece for piece in target.split("/") if piece and piece != "."] + parts
            found = "/old" if target.startswith("/") else found
        else:
            found = step
    return found


def by_landlock(spec: dict[str, Any]) -> None:
    """Take from this process, for good, the files that it may not see and all sockets."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    version = _check(_libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1), "Landlock")
    files = (1 << 13) - 1 | (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0)
    files |= 1 << 15 if version >= 5 else 0
    network = 3 if version >= 4 else 0
    scoped = 3 if version >= 6 else 0
    rules = (ctypes.c_uint64 * 3)(files, network, scoped)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _check(_libc.syscall(_LANDLOCK_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0), "Landlock")
    reading, of_a_file = 1 << 0 | 1 << 2 | 1 << 3, 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
    write = [(path, files) for path in (*spec["write"], *(f"/dev/{name}" for name in _DEVICES), *spec["devices"])]
    listed = [(path, 1 << 3) for path in spec["listed"]]
    for path, allowed in [*((path, reading) for path in (*spec["read"], "/proc")), *listed, *write]:
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        able = files if stat.S_ISDIR(os.fstat(parent).st_mode) else files & of_a_file
        content = (allowed & able).to_bytes(8, sys.byteorder) + parent.to_bytes(4, sys.byteorder)
        rule = ctypes.create_string_buffer(content, len(content))
        _check(_libc.syscall(_LANDLOCK_ADD, ruleset, 1, ctypes.byref(rule), 0), f"Landlock for {path}")
        os.close(parent)
    _no_sockets()
    _check(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), "Landlock")
    os.close(ruleset)


def _no_sockets() -> None:
    """A seccomp filter: socket and io_uring, which makes them too, are forbidden; socketpair is not."""
    architecture, socket = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}[platform.machine()]
    io_uring, first_x32 = 425, 0x40000000
    load, equal, above, give = 0x20, 0x15, 0x35, 0x06
    allow, refuse = 0x7FFF0000, 0x00050001
    program = [
        (load, 0, 0, 4), (equal, 0, 5, architecture),
        (load, 0, 0, 0), (above, 3, 0, first_x32), (equal, 2, 0, socket), (equal, 1, 0, io_uring),
        (give, 0, 0, allow), (give, 0, 0, refuse),
    ]  # fmt: skip
    code = b"".join(
        kind.to_bytes(2, sys.byteorder) + bytes((yes, no)) + value.to_bytes(4, sys.byteorder)
        for kind, yes, no, value in program
    )
    held = ctypes.create_string_buffer(code, len(code))

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    given = Filter(len(program), ctypes.addressof(held))
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(given), 0, 0), "seccomp")


def _drop_privileges() -> None:
    for capability in range(64):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # those that the kernel does not know are an error
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(none)), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def _execute(spec: dict[str, Any], argv: list[str]) -> None:
    try:
        os.chdir(spec["folder"])
        if spec["method"] != "bubblewrap":
            _drop_privileges()
        os.execvpe(argv[0], argv, spec["environment"])
    except OSError as error:
        print(f"{argv[0]}: cannot be started in the sandbox: {error}", file=sys.stderr, flush=True)
        os._exit(FAILED)


def main(given: str, *argv: str) -> int:
    """Start the program as ``given`` says."""
    spec: dict[str, Any] = json.loads(given)
    try:
        limit(spec)
        if spec["method"] == "namespaces":
            return by_namespaces(spec, list(argv))
        if spec["method"] == "landlock":
            by_landlock(spec)
    except (OSError, KeyError) as error:
        print(f"the sandbox cannot be made: {error}", file=sys.stderr, flush=True)
        os._exit(FAILED)
    _execute(spec, list(argv))
    return FAILED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
