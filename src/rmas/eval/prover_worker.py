"""The process behind prover.py: a line of JSON in, a line of JSON out. Run as a file; imports nothing of rmas.

It kills itself with SIGPROF when one comparison takes more processor time than it was given. What math-verify calls
equal is looked at once more: it rounds decimals, drops small differences, and finds two equations equal that have no
solutions at all.
"""

import json
import resource
import signal
import sys
import time
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify
from math_verify.parser import NormalizationConfig
from sympy import Basic, Eq, Expr, I, MatrixBase, Rational, Symbol, prime, simplify
from sympy.logic.boolalg import BooleanAtom

_MEMORY = 2 << 30  # bytes of address space
_DIGITS = 50
_ROUNDING = Rational(1, 10**25)
_AS_WRITTEN = LatexExtractionConfig(
    boxed_match_priority=-1,
    normalization_config=NormalizationConfig(basic_latex=False, boxed="none"),
)
# What sympy raises on expressions that it cannot treat. Anything else ends the process, which prover.py notices.
_UNTREATABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)


def is_equal(gold: str, given: str) -> bool:
    """Whether math-verify says so, and exact arithmetic does not say otherwise."""
    pair = _parsed(gold), _parsed(given)
    if pair[0] is None or pair[1] is None or not verify(*pair, timeout_seconds=None):
        return False
    return _withstands(*pair)


def _parsed(text: str) -> Basic | MatrixBase | None:
    """The piece as sympy reads it; its `i` is the imaginary unit, every other name a real number."""
    found = parse(f"${text}$", [_AS_WRITTEN], "no_fallback", "first_match", parsing_timeout=None)
    if not found or isinstance(found[0], str):
        return None
    names = {name: I if name.name == "i" else Symbol(name.name, real=True) for name in found[0].free_symbols}
    if isinstance(found[0], Eq):  # rebuilt as it stands: x^2 = -1 would become False, and so would x^2 = -2
        return Eq(found[0].lhs.xreplace(names), found[0].rhs.xreplace(names), evaluate=False)
    read = found[0].xreplace(names)
    return None if isinstance(read, BooleanAtom) else read


def _withstands(gold: Basic | MatrixBase, given: Basic | MatrixBase) -> bool:
    if isinstance(gold, Eq) and isinstance(given, Eq):
        ratio = simplify((gold.lhs - gold.rhs) / (given.lhs - given.rhs))
        return bool(ratio.is_number and ratio.is_finite and not ratio.is_zero)
    if isinstance(gold, Expr) and isinstance(given, Expr):
        names = sorted(gold.free_symbols | given.free_symbols, key=str)
        point = {name: Rational(prime(index + 4), 13) for index, name in enumerate(names)}
        left, right = (side.subs(point).doit() for side in (gold, given))
        if left == right:
            return True
        sizes = [abs(value.evalf(_DIGITS)) for value in (left - right, left, right)]
        if all(size.is_number and size.is_finite for size in sizes):
            return bool(sizes[0] <= _ROUNDING * max(sizes[1:]) or max(sizes) < _ROUNDING**4)
    return True


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _write({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        try:
            equal, detail = is_equal(request["gold"], request["given"]), ""
        except _UNTREATABLE as problem:
            equal, detail = False, f"not comparable ({type(problem).__name__})"
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write({"is_equal": equal, "seconds": time.process_time() - start, "detail": detail})


def _write(reply: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
