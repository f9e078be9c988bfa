"""Tools: running code that nobody has read.

sandbox.py      Sandbox, find_sandbox: a program in, its outcome out
process.py      Limits, Outcome, Process: a program under way, its clock and its output
bubblewrap.py   the isolated way to start one; bare.py the unsafe one
watch.py        what a program holds, seen from outside
seccomp.py      the system calls that no program needs
inside.py       the first process of the sandbox: sets the limits, runs the program
"""

from rmas.tools.process import Limits, Outcome, Process
from rmas.tools.sandbox import Sandbox, find_sandbox

__all__ = ["Limits", "Outcome", "Process", "Sandbox", "find_sandbox"]
