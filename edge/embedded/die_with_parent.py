"""Runs a program that the kernel signals as soon as its parent dies, even by `kill -9` (PR_SET_PDEATHSIG).

Usage: `python -I -S die_with_parent.py PARENT_PID SIGNAL SOCKET PROGRAM [ARGUMENT]...`. Becomes PROGRAM, so that it
costs no process. SOCKET: the descriptor on which it is to listen, given as by systemd (sd_listen_fds(3)); -1: none.
Imports nothing of ours, as it starts in isolated mode.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)
_FIRST_LISTENER = 3  # SD_LISTEN_FDS_START


def main() -> None:
    parent, number, listener, command = *map(int, sys.argv[1:4]), sys.argv[4:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"cannot set the parent death signal: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the call
        sys.exit("the parent has died")
    if listener >= 0:
        os.dup2(listener, _FIRST_LISTENER)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
    try:
        os.execv(command[0], command)  # noqa: S606 -- its purpose
    except OSError as problem:
        sys.exit(f"{command[0]}: cannot be run ({problem.strerror})")


if __name__ == "__main__":
    main()
