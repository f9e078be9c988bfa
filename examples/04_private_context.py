"""Each agent holds one fact that no other sees: python examples/04_private_context.py [SYSTEM]

The question needs both. What the planner knows can reach the solver in its message only.
"""

import sys

from rmas import Question, RecursiveSolver, load_system

QUESTION = Question(
    text="In which town is the key?",
    context={
        "planner": "The key is in Mara's blue suitcase.",
        "critic": "Mara's suitcases are all in her flat in Porto.",
    },
)


def main(name: str = "tiny") -> None:
    system = load_system(name)
    for role in system.pattern.roles:
        prompt = system.render(role, QUESTION, filled=frozenset())
        decode = system.backbones[role].decode
        text = decode([*prompt.head, *(token for part in prompt.body for token in part if isinstance(token, int))])
        print(f"{role:8} reads its fact: {QUESTION.context.get(role, 'none') in text}, the key's: {'blue' in text}")
    print(f"answer: {RecursiveSolver(system).solve([QUESTION])[0].text!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
