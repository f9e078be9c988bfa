"""A small corpus about places that do not exist, and questions of one and two facts about it, in HotpotQA's shape.

    python -m benchmarks.search.build runs/search
    rmas eval --system smol-deliberation --task hotpotqa --data runs/search/questions.jsonl \\
        --tools search --corpus runs/search/corpus --out runs/search/tools

No model has read about them, so what is answered right was found. Every name is drawn once, by seed.
"""

import argparse
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

BEGINNINGS = (
    "Bel",
    "Cor",
    "Dal",
    "Fen",
    "Gar",
    "Hol",
    "Kel",
    "Lor",
    "Mar",
    "Nor",
    "Pel",
    "Ros",
    "Sel",
    "Tor",
    "Var",
    "Wen",
)
MIDDLES = ("a", "e", "i", "o", "an", "en", "in", "or")
TOWN_ENDS, RIVER_ENDS, NAME_ENDS = (
    ("ford", "wick", "stead", "mouth", "ham"),
    ("ra", "we", "sse", "na"),
    ("sen", "ley", "mann", "ter"),
)
FIRST_NAMES = ("Ada", "Bruno", "Clara", "Emil", "Frida", "Hugo", "Ida", "Karl", "Lena", "Otto", "Rosa", "Theo")
TRADES = ("an engineer", "an architect", "a mason")


class Bridge(NamedTuple):
    """All that the corpus says of a bridge, of who designed it, and of where that person was born."""

    name: str
    river: str
    town: str
    designer: str
    opened: int
    born: int
    home: str
    region: str
    trade: str


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bridges = draw_bridges(40, random.Random(args.seed))
    corpus = args.folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for title, text in articles(bridges):
        (corpus / f"{title.lower().replace(' ', '_')}.md").write_text(f"# {title}\n\n{text}\n", encoding="utf-8")
    rows = list(islice(questions(bridges), args.questions))
    lines = [json.dumps({"question": asked, "answer": [answer]}) for asked, answer in rows]
    (args.folder / "questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw_bridges(number: int, draw: random.Random) -> list[Bridge]:
    """Bridges, no two of which share a name, a town, a designer or a year."""
    stems = [beginning + middle for beginning in BEGINNINGS for middle in MIDDLES]
    draw.shuffle(stems)
    names = iter(stems)
    towns = [next(names) + draw.choice(TOWN_ENDS) for _ in range(number)]
    rivers = [next(names) + draw.choice(RIVER_ENDS) for _ in range(8)]
    regions = [next(names) + "land" for _ in range(6)]
    homes = draw.sample(towns, number)
    opened, born = draw.sample(range(1860, 1930), number), draw.sample(range(1800, 1850), number)
    return [
        Bridge(
            name=f"{town} Bridge",
            river=draw.choice(rivers),
            town=town,
            designer=f"{draw.choice(FIRST_NAMES)} {next(names)}{draw.choice(NAME_ENDS)}",
            opened=opened[place],
            born=born[place],
            home=homes[place],
            region=draw.choice(regions),
            trade=draw.choice(TRADES),
        )
        for place, town in enumerate(towns)
    ]


def articles(bridges: list[Bridge]) -> Iterator[tuple[str, str]]:
    """Titles and texts."""
    for bridge in bridges:
        yield (
            bridge.name,
            f"The {bridge.name} crosses the river {bridge.river} in {bridge.town}. It was designed by "
            f"{bridge.designer} and opened in {bridge.opened}.",
        )
        yield (
            bridge.designer,
            f"{bridge.designer} was {bridge.trade}, born in {bridge.born} in {bridge.home}.",
        )
        yield bridge.town, f"{bridge.town} is a town on the river {bridge.river}, in the region of {bridge.region}."


def questions(bridges: list[Bridge]) -> Iterator[tuple[str, str]]:
    """Questions and answers, of one fact and of two in turn."""
    for number in range(3 * len(bridges)):
        lap, place = divmod(number, len(bridges))
        bridge, other, kind = bridges[place], bridges[(place + 1) % len(bridges)], (place + lap) % 5
        first = min(bridge, other, key=lambda each: each.opened)
        yield (
            (f"In which year was the {bridge.name} opened?", str(bridge.opened)),
            (f"In which town was the designer of the {bridge.name} born?", bridge.home),
            (f"Who designed the bridge of {bridge.town}?", bridge.designer),
            (f"Which of the two was opened first, the {bridge.name} or the {other.name}?", first.name),
            (f"In which year was the person born who designed the {bridge.name}?", str(bridge.born)),
        )[kind]


if __name__ == "__main__":
    main()
