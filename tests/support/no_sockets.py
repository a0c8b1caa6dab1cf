"""Run a command in which the kernel ends every process that makes an internet socket.

    python no_sockets.py COMMAND...

Python's audit hooks see nothing of threads in native code, in which ONNX Runtime 1.31 looked up its
maker's host. A seccomp filter (kernel: seccomp(2), linux/filter.h) sees every system call. It is
inherited by all children. A process that it ends has the exit code -31 (SIGSYS).
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import socket
import struct
import sys

ENDED = -signal.SIGSYS if hasattr(signal, "SIGSYS") else -31
#: Machine -> number of the system call socket().
_SOCKET = {"x86_64": 41, "aarch64": 198}
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # opcodes of classic BPF
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_NUMBER, _FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h


def is_possible() -> bool:
    """Whether this machine has such filters."""
    return sys.platform == "linux" and platform.machine() in _SOCKET


def forbid() -> None:
    """End this process and its later children at the first socket of IPv4 or IPv6."""
    rows = (
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 0, 3, _SOCKET[platform.machine()]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 2, 0, socket.AF_INET),
        (_EQUAL, 1, 0, socket.AF_INET6),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL_PROCESS),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = ctypes.create_string_buffer(struct.pack("HP", len(rows), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    zero = ctypes.c_ulong(0)
    for arguments in (
        (_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), zero, zero, zero),
        (_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(program), zero, zero),
    ):
        if prctl(*arguments):
            raise OSError(ctypes.get_errno(), "the kernel refuses the filter")


if __name__ == "__main__":
    forbid()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
