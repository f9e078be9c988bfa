"""The first process in the sandbox: takes the limits upon itself, forks, and runs the program in the child.

Read by the interpreter as a file, never imported: standard library only, and as little of it as will do.
Arguments: the limits in the order of LIMITS (-1: leave), the user id to become (-1: stay), a descriptor whose other end
is open for as long as anybody wants the program to run (-1: none), a folder of packages or "", the program's file, and
what the program shall see as its own arguments.

The surprising thing: being process 1 of a pid namespace is a guard. No signal from inside reaches it, and when it ends
the kernel ends everything else in there. So it waits for the program only, and takes whatever was left behind along.
"""

import os
import resource
import select
import signal
import sys
import types

LIMITS = (
    resource.RLIMIT_CPU,
    resource.RLIMIT_AS,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_CORE,
)
ORPHANS_MS = 200  # between two looks for processes whose parents have ended


def main() -> None:
    count = len(LIMITS)
    *limits, user, lifeline = map(int, sys.argv[1 : count + 3])
    packages, *program = sys.argv[count + 3 :]
    for kind, limit in zip(LIMITS, limits, strict=True):
        if limit >= 0:
            # A hard limit on CPU seconds kills process 1 as well; the soft one speaks first, with SIGXCPU.
            resource.setrlimit(kind, (limit, limit + 1 if kind == resource.RLIMIT_CPU else limit))
    if user >= 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)  # the capabilities go with it, and so does bwrap's wish to die with its parent
    child = os.fork()
    if child != 0:
        os._exit(wait_for(child, lifeline))
    if lifeline >= 0:
        os.close(lifeline)
    run(program, packages)


def wait_for(child: int, lifeline: int) -> int:
    """The exit code of `child`, 128 + the signal where one ended it. Collects orphans on the way."""
    ended, waiting = os.pidfd_open(child), select.poll()
    waiting.register(ended, select.POLLIN)
    if lifeline >= 0:
        waiting.register(lifeline, select.POLLHUP)
    while True:
        for descriptor, _ in waiting.poll(ORPHANS_MS):
            if descriptor == lifeline:
                return 128 + signal.SIGKILL
        while True:
            try:
                found, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if found == 0:
                break
            if found == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def run(program: list[str], packages: str) -> None:
    """The program as `python FILE ARGUMENTS` would run it."""
    path = program[0]
    sys.argv = program
    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120 (pathlib costs more than the rest of the start)
    if packages:
        sys.path.append(packages)
    module = types.ModuleType("__main__")
    module.__file__ = path
    with open(path, "rb") as file:  # noqa: PTH123
        source = file.read()
    sys.modules["__main__"] = module
    exec(compile(source, path, "exec"), module.__dict__)


if __name__ == "__main__":
    main()
