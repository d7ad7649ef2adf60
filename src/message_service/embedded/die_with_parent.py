"""Run as a script: become the given command, and get SIGTERM when the process that started us ends, however it ends.

`python die_with_parent.py <pid of the parent> <command> [argument ...]`. A script and not a `preexec_fn`, which is
unsafe once there are threads. It costs about 15 ms, and nothing once it has become the command.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives execve(2) of programs that are not set-user-id

NOT_RUNNABLE_EXIT_CODE = 126


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # Had the parent ended before prctl took effect, no signal would ever come.
    if os.getppid() != parent:
        sys.exit(0)
    try:
        os.execv(command[0], command)
    except OSError as fault:
        sys.stderr.write(f"{command[0]}: {fault.strerror}\n")
        sys.exit(NOT_RUNNABLE_EXIT_CODE)


if __name__ == "__main__":
    main()
