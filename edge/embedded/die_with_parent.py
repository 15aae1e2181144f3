"""Runs a program that the kernel signals as soon as its parent dies, even by `kill -9` (PR_SET_PDEATHSIG).

Usage: `python -I -S die_with_parent.py PARENT_PID SIGNAL PROGRAM [ARGUMENT]...`. Becomes PROGRAM, so that it costs no
process. Imports nothing of ours, as it starts in isolated mode.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    parent, number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"cannot set the parent death signal: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the call
        sys.exit("the parent has died")
    try:
        os.execv(command[0], command)  # noqa: S606 -- its purpose
    except OSError as problem:
        sys.exit(f"{command[0]}: cannot be run ({problem.strerror})")


if __name__ == "__main__":
    main()
