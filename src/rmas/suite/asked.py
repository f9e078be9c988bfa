"""What a suite wants told beside its overview: equal budgets, a price, statements with verdicts, tables of its own.

[equal]                       # what the trained methods are meant to share with the first, and how nearly
of = "latent"                 # default: the reference
against = { more = "most" }   # methods that are to equal another one instead
trained_parameters = 0.1      # within a tenth
trained_tflop = 0.5

[price]                       # of a question, in the currency that `name` says
name = "$"
hour = 0.8                    # of the machine
million_read = 0.05           # prompt tokens
million_written = 0.4         # latents and written tokens

[statements.rounds]
says = "three rounds beat one"
better = "latent"
worse = "latent-r1"
tasks = ["sums"]              # default: all that both have

[tables.rounds]               # a row a method and figure, a column a task; accuracies as a picture
says = "Latent and text by rounds"
methods = ["text-r1", "latent-r1"]
show = ["accuracy", "seconds", "tokens"]
against = { latent-r1 = "text-r1" }   # what a gain is a gain over
tasks = ["sums"]              # default: all that one of them has
grid = false                  # true: training rounds by rounds instead, and a picture
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from rmas.errors import unknown
from rmas.tomlfile import TomlFile

KEYS = ("equal", "price", "statements", "tables")
OWN_TABLES = ("accuracy", "cost", "seeds", "equal", "statements")
Pairs = Collection[tuple[str, str]]  # a method and a task that it has
# What can be held equal, and what it is called.
BUDGETS: Mapping[str, str] = {
    "trained_parameters": "trained numbers",
    "trained_examples": "examples seen",
    "trained_tflop": "training TFLOP",
    "trained_seconds": "training s",
    "sequential_steps": "sequential steps",
    "tflop": "TFLOP a question",
    "seconds": "s a question",
}
FIGURES: Mapping[str, str] = {
    "accuracy": "accuracy, %",
    "seconds": "s a question",
    "tokens": "tokens and latents",
    "written": "latents and written tokens",
    "sequential_steps": "sequential steps",
    "tflop": "TFLOP",
    "price": "price of 1,000",
}


class Price(NamedTuple):
    name: str = "$"
    hour: float = 0.0
    million_read: float = 0.0
    million_written: float = 0.0

    def of(self, row: Mapping[str, float]) -> float:
        """A question's, from its row of costs."""
        written = row["latent_thoughts"] + row["completion_tokens"]
        tokens = row["prompt_tokens"] * self.million_read + written * self.million_written
        return row["seconds"] / 3600 * self.hour + tokens / 1e6


class Statement(NamedTuple):
    """One method is better than another. `name` is how verdicts refer to it."""

    name: str
    says: str
    better: str
    worse: str
    tasks: tuple[str, ...]


class Layout(NamedTuple):
    """A table of the suite's own."""

    name: str
    says: str
    methods: tuple[str, ...]
    show: tuple[str, ...] = ("accuracy",)
    against: Mapping[str, str] = {}
    is_grid: bool = False
    tasks: tuple[str, ...] = ()  # empty: all


class Equal(NamedTuple):
    """Budgets, each with its tolerance, relative; and which method they are to be equal to."""

    budgets: Mapping[str, float]
    of: str
    against: Mapping[str, str] = {}

    def other(self, method: str) -> str:
        """The one whose budgets `method` is meant to have."""
        return self.against.get(method, self.of)


class Asked(NamedTuple):
    equal: Equal
    price: Price | None
    statements: tuple[Statement, ...]
    layouts: tuple[Layout, ...]


def read_asked(file: TomlFile, methods: Collection[str], tasks: Collection[str], pairs: Pairs, reference: str) -> Asked:
    """Read and check these parts of a suite file. `pairs`: which method has which task. Raises ConfigError: file, line,
    key, fix.
    """
    budgets = _table(file, "equal", ("of", "against", *BUDGETS))
    of = str(budgets.pop("of", reference))
    if of not in methods:
        raise file.fail("equal.of", unknown("method", of, methods))
    against = _against(file, "equal.against", budgets.pop("against", {}), methods)
    for key, value in budgets.items():
        _number(file, f"equal.{key}", value)
    price = _table(file, "price", Price._fields)
    for key, value in price.items():
        if key != "name":
            _number(file, f"price.{key}", value)
    statements = tuple(
        _statement(file, name, table, methods, tasks, pairs) for name, table in _table(file, "statements", None).items()
    )
    layouts = tuple(_layout(file, name, table, methods, tasks) for name, table in _table(file, "tables", None).items())
    return Asked(Equal(budgets, of, against), Price(**price) if price else None, statements, layouts)


def _statement(
    file: TomlFile, name: str, table: Any, methods: Collection[str], tasks: Collection[str], pairs: Pairs
) -> Statement:
    key = f"statements.{name}"
    file.only(table, ("says", "better", "worse", "tasks"), prefix=f"{key}.")
    for part in ("better", "worse"):
        _known(file, f"{key}.{part}", [table.get(part)], methods, "method")
    if table["better"] == table["worse"]:
        raise file.fail(f"{key}.worse", f"{table['worse']} cannot be better than itself. Name another method.")
    both = [task for task in tasks if all((table[part], task) in pairs for part in ("better", "worse"))]
    wanted = _texts(file, f"{key}.tasks", table.get("tasks", both))
    _known(file, f"{key}.tasks", wanted, tasks, "task")
    for task in wanted:
        for part in ("better", "worse"):
            if (table[part], task) not in pairs:
                raise file.fail(f"{key}.tasks", f"{table[part]} is not asked {task}. Leave it out, or add it there.")
    says = str(table.get("says", f"{table['better']} beats {table['worse']}"))
    return Statement(name, says, table["better"], table["worse"], tuple(wanted))


def _layout(file: TomlFile, name: str, table: Any, methods: Collection[str], tasks: Collection[str]) -> Layout:
    key = f"tables.{name}"
    file.only(table, ("says", "methods", "show", "against", "grid", "tasks"), prefix=f"{key}.")
    if not name.replace("-", "_").isidentifier() or name in OWN_TABLES:
        taken = ", ".join(OWN_TABLES)
        raise file.fail(key, f"its name becomes a file's: use letters, digits, - and _, and none of {taken}.")
    chosen = _texts(file, f"{key}.methods", table.get("methods", list(methods)))
    show = _texts(file, f"{key}.show", table.get("show", ["accuracy"]))
    is_grid = table.get("grid", False)
    if not isinstance(is_grid, bool):
        raise file.fail(f"{key}.grid", f"expected true or false, got {is_grid!r}.")
    against = _against(file, f"{key}.against", table.get("against", {}), methods)
    _known(file, f"{key}.methods", chosen, methods, "method")
    _known(file, f"{key}.show", show, FIGURES, "figure")
    wanted = _texts(file, f"{key}.tasks", table["tasks"]) if "tasks" in table else []
    _known(file, f"{key}.tasks", wanted, tasks, "task")
    return Layout(name, str(table.get("says", name)), tuple(chosen), tuple(show), against, is_grid, tuple(wanted))


def _against(file: TomlFile, key: str, table: Any, methods: Collection[str]) -> dict[str, str]:
    if not isinstance(table, dict):
        raise file.fail(key, f"expected a table of methods, got {table!r}.")
    _known(file, key, [*table, *table.values()], methods, "method")
    return table


def _table(file: TomlFile, key: str, known: Sequence[str] | None) -> dict[str, Any]:
    table = file.table.get(key, {})
    file.only(table, table if known is None and isinstance(table, dict) else known or (), prefix=f"{key}.")
    return dict(table)


def _texts(file: TomlFile, key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise file.fail(key, f"expected a list of names, got {value!r}.")
    return value


def _known(file: TomlFile, key: str, names: Sequence[Any], known: Collection[str], kind: str) -> None:
    for name in names:
        if name not in known:
            raise file.fail(key, unknown(kind, str(name), known))


def _number(file: TomlFile, key: str, value: Any) -> None:
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise file.fail(key, f"expected a number of 0 or more, got {value!r}.")
