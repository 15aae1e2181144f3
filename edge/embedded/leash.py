"""Runs a program that the kernel ends when the process that started it ends, even by `kill -9`.

Called as `python -I -S leash.py PARENT_PID SIGNAL PROGRAM [ARGUMENT]...`; becomes PROGRAM, so it costs no process.
It imports nothing of ours: it starts in isolation.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    parent, number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"cannot ask to end with the parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before we asked
        sys.exit("the parent is gone")
    try:
        os.execv(command[0], command)  # noqa: S606 -- that is what this is for
    except OSError as problem:
        sys.exit(f"{command[0]}: cannot be run ({problem.strerror})")


main()
