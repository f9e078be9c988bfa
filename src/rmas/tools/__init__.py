"""Tools: what an agent may call while it writes, and running code that nobody has read.

toolbox.py      TOOLS, PROVIDERS: the tools by name; open_tools, ready to be called; told_tools, for prompts alone
format.py       how calls and results are written: in tags of ours
native.py       or as a model's own family writes them; SYNTAXES
example.py      a call worked through, as a prompt shows it
tool.py         Tool, Result: a text in, a result out
python.py       a notebook's cell in the sandbox; notebook.py runs inside
search.py       a query to a provider: corpus.py over passages.py, without a network, or web.py
sandbox.py      Sandbox, find_sandbox: a program in, its outcome out
process.py      Limits, Outcome, Process: a program under way, its clock and its output
bubblewrap.py   the isolated way to start one; bare.py the unsafe one
watch.py        what a program holds, seen from outside
seccomp.py      the system calls that no program needs
inside.py       the first process of the sandbox: sets the limits, runs the program
"""

from rmas.tools.process import Limits, Outcome, Process
from rmas.tools.sandbox import Sandbox, find_sandbox
from rmas.tools.tool import Result, Tool
from rmas.tools.toolbox import PROVIDERS, TOOLS, Toolbox, open_tools, told_tools

__all__ = [
    "PROVIDERS",
    "TOOLS",
    "Limits",
    "Outcome",
    "Process",
    "Result",
    "Sandbox",
    "Tool",
    "Toolbox",
    "find_sandbox",
    "open_tools",
    "told_tools",
]
