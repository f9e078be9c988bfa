"""Tests of programs in the shapes of the benchmarks, and programs that try to pass them without doing what they ask."""

from dataclasses import replace
from textwrap import dedent

from rmas.eval.task import CodeTests

# In the shape of HumanEval: a helper in the prompt, a docstring, tests that use the helper and a module.
STRETCH = CodeTests(
    kind="script",
    function="stretch",
    prompt=dedent('''\
        import math
        from typing import List


        def norm(xs: List[float]) -> float:
            return math.sqrt(sum(x * x for x in xs))


        def stretch(xs: List[float], length: float) -> List[float]:
            """Scale xs to the given length.
            >>> stretch([3.0, 4.0], 10.0)
            [6.0, 8.0]
            """
    '''),
    script=dedent("""\
        def check(candidate):
            import random
            rng = random.Random(3)
            assert candidate([3.0, 4.0], 10.0) == [6.0, 8.0]
            for _ in range(20):
                xs = [rng.uniform(1, 2) for _ in range(4)]
                assert math.fabs(norm(candidate(xs, 7.0)) - 7.0) < 1e-6
                assert abs(candidate(xs, 1.0)[0]) < 1

        check(stretch)
    """),
    seconds=5,
)
STRETCH_BODY = "    n = norm(xs)\n    return [x / n * length for x in xs]"
# In the shape of MBPP: bare asserts.
TAIL = CodeTests(
    kind="script",
    script="assert tail([1, 2, 3], 2) == [2, 3]\nassert set(tail((5, 6), 1)) == {6}\nassert tail([], 1) == []\n",
    seconds=5,
)
TAIL_PROGRAM = "def tail(xs, n):\n    return list(xs[-n:])"
# Also MBPP: a class of the program's own, and what its objects are made to hold.
DEPTH = CodeTests(
    kind="script",
    script=dedent("""\
        root = Node(1)
        root.left = Node(2)
        root.left.left = Node(3)
        assert depth(root) == 3
        assert depth(Node(0)) == 1
    """),
    seconds=5,
)
_PLUS_SCRIPT = """\
import numpy as np
from math import inf

def is_floats(x):
    if isinstance(x, np.ndarray):
        return x.dtype == np.float64
    return isinstance(x, float) or isinstance(x, (list, tuple)) and all(isinstance(i, float) for i in x)

def assertion(out, exp, atol):
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp, f"out: {out}, exp: {exp}"

inputs = @INPUTS
results = @RESULTS
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assertion(@FUNCTION(*inp), exp, 0)
"""


def plus_script(function: str, inputs: str, results: str) -> str:
    """A test script in the shape of MBPP+: numpy, a comparison of its own, inputs and results."""
    script = _PLUS_SCRIPT.replace("@FUNCTION", function)
    return script.replace("@INPUTS", inputs).replace("@RESULTS", results)


HALVES = CodeTests(
    kind="script", script=plus_script("halves", "[[[1, 2]], [[3.0]], [[]]]", "[[0.5, 1.0], [1.5], []]"), seconds=10
)
# In the shape of LiveCodeBench: through stdin, and by calling a method.
SUMS = CodeTests(kind="stdin", cases=(("2\n1 2\n3 4.5\n", "3\n7.5\n"), ("1\n0 0\n", "0")), seconds=5)
SUMS_PROGRAM = "for _ in range(int(input())):\n    print(sum(map(float, input().split())))"
PAIRS = CodeTests(
    kind="function",
    function="pairs",
    cases=(("[[1, 2, 3], 3]", "[[1, 2]]"), ("[[2.5, 2.5], 5]", "[[2.5, 2.5]]"), ("[[], 1]", "[]")),
    seconds=5,
)
PAIRS_PROGRAM = (
    "class Solution:\n    def pairs(self, xs: List[int], total: int) -> List[List[int]]:\n"
    "        return [(a, b) for a, b in combinations(xs, 2) if a + b == total]"
)

_YES = """
class Yes(int):
    def __eq__(self, other): return True
    def __bool__(self): return True
    def __getattr__(self, name): return self
    def __call__(self, *given, **named): return self
    __hash__ = int.__hash__
    __lt__ = __gt__ = __le__ = __ge__ = __eq__
    __sub__ = __rsub__ = __abs__ = __len__ = __call__
"""
# How to fool a judge, and which one.
TRICKS = {
    "leaves early": (
        """
        import sys
        sys.exit(0)
        """,
        TAIL,
    ),
    "leaves early, at once": (
        """
        import os
        os._exit(0)
        """,
        TAIL,
    ),
    "leaves when it is called": (
        """
        import os
        def tail(xs, n): os._exit(0)
        """,
        TAIL,
    ),
    "raises SystemExit when it is called": (
        """
        def tail(xs, n): raise SystemExit(0)
        """,
        TAIL,
    ),
    "leaves at the end": (
        """
        import atexit, os
        atexit.register(os._exit, 0)
        def tail(xs, n): raise KeyboardInterrupt
        """,
        TAIL,
    ),
    "equals everything": (
        """
        @YES@
        def tail(xs, n): return Yes()
        """,
        TAIL,
    ),
    "equals everything, in a list": (
        """
        @YES@
        def stretch(xs, length): return [Yes()] * 2
        """,
        STRETCH,
    ),
    "equals everything, as an object": (
        """
        class Any(list):
            def __eq__(self, other): return True
            __ne__ = __hash__ = None
        def tail(xs, n): return Any()
        """,
        TAIL,
    ),
    "equals everything, as a class": (
        """
        class M(type):
            def __eq__(c, o): return True
            __hash__ = type.__hash__
        class A(metaclass=M): pass
        def tail(xs, n): return A
        """,
        TAIL,
    ),
    "equals everything, for a call": (
        """
        @YES@
        def pairs(xs, total): return Yes()
        """,
        PAIRS,
    ),
    "redefines Python's functions": (
        """
        def abs(x): return 0
        def set(x): return 0
        def list(x): return 0
        def tail(xs, n): return [2, 3]
        """,
        TAIL,
    ),
    "redefines the helper of the task": (
        """
        def norm(xs): return 7.0
        def stretch(xs, length): return [6.0, 8.0]
        """,
        STRETCH,
    ),
    "redefines a module of the tests": (
        """
        class math:
            fabs = sqrt = staticmethod(lambda x: 0)
        def stretch(xs, length): return [6.0, 8.0]
        """,
        STRETCH,
    ),
    "redefines the tests' own names": (
        """
        def check(candidate): pass
        def stretch(xs, length): return None
        """,
        STRETCH,
    ),
    "patches builtins": (
        """
        import builtins, random
        builtins.AssertionError = None
        builtins.abs = builtins.set = builtins.sum = lambda *a: 0
        builtins.__build_class__ = builtins.print = builtins.isinstance = None
        def tail(xs, n): return 0
        """,
        TAIL,
    ),
    "patches json": (
        """
        import json
        json.loads = json.dumps = lambda *a, **k: '{"value": [2, 3]}'
        def tail(xs, n): return 0
        """,
        TAIL,
    ),
    "patches sys": (
        """
        import sys
        sys.exit = sys.excepthook = lambda *a: None
        sys.settrace(lambda *a: None)
        sys.modules.clear()
        def tail(xs, n): return 0
        """,
        TAIL,
    ),
    "prints what a judge would": (
        """
        import json, os, sys
        line = json.dumps({'token': '', 'verdict': 'passed', 'detail': ''})
        for n in range(9):
            try: os.write(n, (line + chr(10)).encode())
            except OSError: pass
        print('OK', 'passed', line)
        def tail(xs, n): return 0
        os._exit(0)
        """,
        TAIL,
    ),
    "answers before it is asked": (
        """
        import os, sys
        channel = int(sys.argv[1])
        os.write(channel, b'{"value": null}\\n' + b'{"value": {"object": 0}}\\n' * 9 + b'{"value": true}\\n' * 99)
        def tail(xs, n): return 0
        """,
        TAIL,
    ),
    "talks nonsense": (
        """
        import os, sys
        os.write(int(sys.argv[1]), b'[[[\\n')
        def tail(xs, n): return [2, 3]
        """,
        TAIL,
    ),
    "talks nonsense, for a call": (
        """
        import os, sys
        os.write(int(sys.argv[1]), b'7\\n' * 9)
        """,
        PAIRS,
    ),
    "returns a fraction that is spelt long": (
        """
        import fractions
        class Fraction(fractions.Fraction):
            def __str__(self): return '1e3000000000'
        def pairs(xs, total): return Fraction(1)
        """,
        PAIRS,
    ),
    "returns keys that all collide": (
        """
        def pairs(xs, total): return {n * ((1 << 61) - 1) for n in range(2000)}
        """,
        PAIRS,
    ),
    "talks without end": (
        """
        import os, sys
        while True: os.write(int(sys.argv[1]), b'[' * 65536)
        """,
        PAIRS,
    ),
    "sends a nest": (
        """
        import os, sys
        os.write(int(sys.argv[1]), b'{"value": null}\\n{"value": ' + b'[' * 9999 + b']' * 9999 + b'}\\n')
        """,
        PAIRS,
    ),
    "returns itself": (
        """
        x = []
        x.append(x)
        def pairs(xs, total): return x
        """,
        PAIRS,
    ),
    "returns a number of many digits": (
        """
        def pairs(xs, total): return 10 ** 9999
        """,
        PAIRS,
    ),
    "returns a signalling nan": (
        """
        from decimal import Decimal
        def pairs(xs, total): return [Decimal('sNaN')]
        """,
        PAIRS,
    ),
    "hangs up": (
        """
        import os, sys
        os.close(int(sys.argv[1]))
        def tail(xs, n): return [2, 3]
        """,
        TAIL,
    ),
    "ends an iteration": (
        """
        def tail(xs, n): raise StopIteration
        """,
        CodeTests(kind="script", script="assert all(map(lambda x: tail(x, 1) == x, [[1], [2]]))\n", seconds=5),
    ),
    "is gone where exceptions are caught": (
        """
        import os
        def tail(xs, n): os._exit(0)
        """,
        CodeTests(kind="script", script="try:\n    tail(3, 4)\nexcept:\n    pass\n", seconds=5),
    ),
    "looks for the tests": (
        """
        import gc, glob, inspect, os, re, sys
        seen = [open(p, errors='replace').read() for p in glob.glob('/tmp/**', recursive=True) if os.path.isfile(p)]
        seen += [repr(f.frame.f_locals) + repr(f.frame.f_globals) for f in inspect.stack()] + sys.argv
        seen += [repr(o) for o in gc.get_objects() if isinstance(o, (dict, list, tuple))]
        hidden = ' tail'.join(('assert', '([1'))
        found = [s for s in seen if hidden in s]
        def tail(xs, n): return [2, 3] if found and n == 2 else [6] if found and xs else [] if found else None
        """,
        TAIL,
    ),
    "rewrites the harness": (
        """
        import glob, os
        for path in [*glob.glob('/tmp/**', recursive=True), '/inside.py', __import__('json').__file__]:
            try: open(path, 'w').write('import os; os._exit(0)')
            except OSError: pass
        def tail(xs, n): return None
        """,
        TAIL,
    ),
    "kills the harness": (
        """
        import os, signal
        def tail(xs, n):
            for pid in (-1, 1, os.getppid(), 2, 3, 4):
                try: os.kill(pid, signal.SIGKILL)
                except OSError: pass
        """,
        TAIL,
    ),
    "raises what cannot be told": (
        """
        class E(BaseException):
            def __str__(self): raise E
            __repr__ = __str__
        def tail(xs, n): raise E
        """,
        TAIL,
    ),
    "recurses deeply": (
        """
        import sys
        sys.setrecursionlimit(10 ** 9)
        def tail(xs, n): return tail([xs], n)
        """,
        replace(TAIL, seconds=0.9),
    ),
    "prints the tests' end": (
        """
        print('3')
        print('7.5')
        import os
        os._exit(1)
        """,
        SUMS,
    ),
    "prints every answer": (
        """
        for n in range(10): print(n)
        """,
        SUMS,
    ),
}


def trick(name: str) -> tuple[str, CodeTests]:
    """The program and the tests of one of TRICKS."""
    code, tests = TRICKS[name]
    return dedent(code).replace("@YES@", _YES), tests
