"""The relay, in words: each agent holds one list, and only all lists together, gone through in turn, give the answer.

`relay:places`: the first role knows in which city everyone is, the second which colour each city has, the third for
whom each colour is. One round leads from a person to another, so `rounds` go three look-ups each, and no two rounds
have the same answer. `form=split` gives each role its list as private context; the question is the name that it starts
with, and what to do with a name stands in each role's prompt. `form=whole` is the twin with all lists in the question,
which says what is asked; `form=step` is the last role's look-up alone, for an agent that is trained on its own.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rmas.errors import ConfigError, unknown
from rmas.rows.gym import read_size
from rmas.rows.stored import Row, parse_address
from rmas.settings import require

FORMS = ("split", "whole", "step")
_KNOWN = ("to", "form", "size", "seed", "rounds", "entries")
_TIMES = ("once", "twice", "three times", "four times", "five times")


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One list of a relay. `words`: what it starts from; `say`: one entry; `ask`: the look-up of `{}`."""

    words: Sequence[str]
    say: str
    ask: str


# Every word is one token of Qwen2.5, SmolLM2 and Gemma 3 where a space stands before it.
RELAYS: Mapping[str, tuple[Leg, ...]] = {
    "places": (
        Leg(
            words=[
                "Anna",
                "Tom",
                "Max",
                "Lisa",
                "Paul",
                "Emma",
                "Jack",
                "Mary",
                "Peter",
                "Sarah",
                "John",
                "Kate",
                "Mark",
                "David",
                "Eva",
                "Lucy",
            ],
            say="{} is in {}.",
            ask="Answer with the city alone. In which city is: {}",
        ),
        Leg(
            words=[
                "Paris",
                "London",
                "Rome",
                "Berlin",
                "Madrid",
                "Vienna",
                "Boston",
                "Chicago",
                "Tokyo",
                "Moscow",
                "Dublin",
                "Oslo",
            ],
            say="{} = {}.",
            ask="Answer with the colour alone. {} =",
        ),
        Leg(
            words=["red", "blue", "green", "black", "white", "pink", "brown", "gold", "silver", "orange"],
            say="{} is for {}.",
            ask="Answer with the name alone. For whom is: {}",
        ),
    )
}


def relay_rows(address: str) -> list[Row]:
    """The rows of `FAMILY?to=ROLE,ROLE,ROLE&form=…&rounds=R&entries=N&size=N&seed=S`: question, answer, contexts.

    `answers` has one for each round up to R, of which the last is `answer`; a `step` has none, and its answer is one
    look-up's. Raises ConfigError: unknown family, form or option, roles that do not fit, numbers out of range.
    """
    family, options = parse_address(address)
    name = f"relay:{family}"
    if family not in RELAYS:
        raise ConfigError("data: " + unknown("relay", family, RELAYS))
    for option in options:
        if option not in _KNOWN:
            raise ConfigError(f"data: {name}: " + unknown("option", option, _KNOWN))
    legs, form = RELAYS[family], options.get("form", "split")
    if form not in FORMS:
        raise ConfigError(f"data: {name}: " + unknown("form", form, FORMS))
    roles = [role.strip() for role in options.get("to", "planner,critic,solver").split(",")]
    if "" in roles or len(set(roles)) < len(roles) or len(roles) != len(legs):
        raise ConfigError(f"data: {name}: to is {options['to']!r}, expected {len(legs)} roles, each once.")
    seed, rounds, entries = (_number(name, options, key) for key in _NUMBERS)
    require(rounds <= len(_TIMES), f"data: {name}: rounds", rounds, f"{len(_TIMES)} at most")
    most = min(len(leg.words) for leg in legs)
    require(rounds < entries <= most, f"data: {name}: entries", entries, f"more than rounds ({rounds}), {most} at most")
    draw = random.Random(seed)
    return [
        _row(f"{name} item {number}", _Relay.drawn(legs, entries, draw), roles, form, rounds)
        for number in range(read_size(name, options))
    ]


_NUMBERS = {"seed": (0, 0), "rounds": (1, 3), "entries": (2, 5)}  # the least there may be, and what it usually is


def _number(name: str, options: Mapping[str, str], key: str) -> int:
    least, usual = _NUMBERS[key]
    text = options.get(key, str(usual))
    require(text.isdecimal() and int(text) >= least, f"data: {name}: {key}", text, f"a whole number of {least} or more")
    return int(text)


@dataclass(frozen=True)
class _Relay:
    """One item: a list a leg, as (from, to) in the order in which they are told, and who it starts with."""

    legs: Sequence[Leg]
    lists: Sequence[Sequence[tuple[str, str]]]
    start: str

    @classmethod
    def drawn(cls, legs: Sequence[Leg], entries: int, draw: random.Random) -> "_Relay":
        """A round leads through all first words before it comes back to one: no two rounds have the same answer."""
        words = [draw.sample(leg.words, entries) for leg in legs]
        ways = [*words, [*words[0][1:], words[0][0]]]  # the i-th of each follows the i-th of the one before
        lists = [draw.sample(list(zip(own, following, strict=True)), entries) for own, following in pairwise(ways)]
        return cls(legs, lists, draw.choice(words[0]))

    def after(self, rounds: int) -> str:
        """Where it is when each list was gone through `rounds` times."""
        place = self.start
        for _ in range(rounds):
            for pairs in self.lists:
                place = dict(pairs)[place]
        return place

    def told(self, leg: int) -> str:
        return " ".join(self.legs[leg].say.format(*pair) for pair in self.lists[leg])


def _row(place: str, relay: _Relay, roles: Sequence[str], form: str, rounds: int) -> Row:
    item = json.dumps([relay.lists, relay.start])
    last = len(roles) - 1
    if form == "step":
        asked, answer = random.Random(item).choice(relay.lists[last])
        question = f"{relay.told(last)}\n\n{relay.legs[last].ask.format(asked)}"
        return Row(place, {"question": question, "answer": answer}, item)
    fields: dict[str, object] = {
        "question": relay.start,
        "answer": relay.after(rounds),
        "answers": [relay.after(number) for number in range(1, rounds + 1)],
    }
    told = {role: relay.told(number) for number, role in enumerate(roles)}
    if form == "whole":
        asked = f"It starts with {relay.start} and goes round all lists {_TIMES[rounds - 1]}. Who has it in the end?"
        fields["question"] = "\n".join([*told.values(), asked])
        return Row(place, fields, item)
    return Row(place, fields | {f"context.{role}": text for role, text in told.items()}, item)
