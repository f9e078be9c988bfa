"""LiveCodeBench: problems of programming contests, tested through stdin or by calling a function.

The surprising thing: most hidden tests are published as a pickle inside a text. Unpickling can run foreign code, so
nothing here does: the text is carried as it is (`CodeTests.blob`), to be opened in the sandbox.
"""

import json
import re
from typing import Any

from rmas.errors import ConfigError
from rmas.eval.task import CodeTests, Sample, Target, Task
from rmas.eval.tasks.fields import code_of, find, identity, json_of, look_up, text_of, wrong
from rmas.prompt import Question
from rmas.rows import Row

_CASES = "a list of cases with input and output"
_METADATA = "an object, with func_name where a function is called"
_STDIN = "Write a Python program that reads the input from standard input and prints the output to standard output."
_FUNCTION = "Complete this Python code. Write it out whole, with its imports."


def read_livecodebench(row: Row) -> Sample:
    """`question_content`, `starter_code`, `metadata` (func_name), `public_test_cases`, `private_test_cases`."""
    statement = text_of(row, ("question_content",), "the statement").strip()
    starter = code_of(row, "starter_code")
    metadata = json_of(row, ("metadata",), _METADATA) if look_up(row, ("metadata",)) else {}
    function = metadata.get("func_name", "") if isinstance(metadata, dict) else None
    if not isinstance(function, str):
        raise wrong(row, "metadata", metadata, _METADATA)
    public = _cases(row, "public_test_cases", function)
    name, value = find(row, ("private_test_cases",), f"{_CASES}, or its encoded form")
    is_encoded = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9+/]{8,}={0,2}", value.strip()) is not None
    private = () if is_encoded else _cases(row, name, function)
    tests = CodeTests(
        kind="function" if function else "stdin",
        function=function,
        cases=public + private,
        blob=str(value).strip() if is_encoded else "",
    )
    if not (tests.cases or tests.blob):
        raise ConfigError(f"{row.place}: public_test_cases and private_test_cases are both empty. Repair the row.")
    wanted = f"{_FUNCTION}\n\n```python\n{starter}\n```" if starter else _STDIN
    return Sample(
        id=identity(row, statement, "question_id"),
        question=Question(text=f"{statement}\n\n{wanted}", kind="code", function=function),
        target=Target(tests=tests),
    )


def read_cases(text: str, *, function: str) -> tuple[tuple[str, str], ...]:
    """Cases as LiveCodeBench writes them, a JSON list of {"input", "output"}, as `CodeTests.cases`.

    With a `function` an input is one JSON argument a line; it becomes one JSON list. Raises ValueError for other texts.
    """
    return _pairs(json.loads(text), function)


def _cases(row: Row, name: str, function: str) -> tuple[tuple[str, str], ...]:
    records = json_of(row, (name,), _CASES)
    try:
        return _pairs(records, function)
    except ValueError as problem:
        raise ConfigError(f"{row.place}: {name}: {problem}. Repair the row.") from None


def _pairs(records: Any, function: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(records, list):
        raise ValueError(f"expected {_CASES}")
    pairs = []
    for number, record in enumerate(records):
        if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("input", "output")):
            raise ValueError(f"case {number}: expected an object with the texts input and output")
        if record.get("testtype", "functional" if function else "stdin") != ("functional" if function else "stdin"):
            raise ValueError(f"case {number}: testtype is {record['testtype']!r}, and func_name is {function!r}")
        given, expected = record["input"], record["output"]
        if function:
            given = "[" + ", ".join(line for line in given.split("\n") if line.strip()) + "]"
            for part in (given, expected):
                try:
                    json.loads(part)
                except (ValueError, RecursionError):
                    raise ValueError(f"case {number}: {part[:40]!r} is not JSON") from None
        pairs.append((given, expected))
    return tuple(pairs)


LIVECODEBENCH = Task(
    name="livecodebench",
    format="code",
    kind="code",
    # The commit of the set's own conversion to parquet: its main branch needs a loading script, and none is run here.
    source=(
        "hf:livecodebench/code_generation_lite?name=release_v6&split=test"
        "&revision=c52cd175916e995019dcd848d1054b419d2e70b5"
    ),
    read=read_livecodebench,
    size=1055,
    max_new_tokens=4000,
    about="Release v6: contest problems from May 2023 to April 2025, with hidden tests; about 4.3 GB to download.",
    citation="Jain et al. 2024, arXiv:2403.07974",
    version="1",
    how_to_get=(
        "Its files are test.jsonl and test2.jsonl to test6.jsonl at "
        "https://huggingface.co/datasets/livecodebench/code_generation_lite; join several with ' + '."
    ),
)
