"""The benchmarks. A new one is a reader, a Task and a row of TASKS; the tests ask for golden rows by themselves.

maths.py      MATH500, AIME, GSM8K
choice.py     GPQA, MedQA
programs.py   HumanEval, MBPP, MBPP+
livecode.py   LiveCodeBench
search.py     HotpotQA, Bamboogle
gym.py        any family of reasoning-gym
deal.py       its items, the facts dealt out to agents, and the relay
fields.py     reading a row's fields, with errors that name them
"""

from collections.abc import Callable, Mapping

from rmas.eval.task import DEAL, GYM, RELAY, Task
from rmas.eval.tasks.choice import GPQA_DIAMOND, MEDQA
from rmas.eval.tasks.deal import deal_task, relay_task
from rmas.eval.tasks.gym import gym_task
from rmas.eval.tasks.livecode import LIVECODEBENCH
from rmas.eval.tasks.maths import AIME2025, AIME2026, GSM8K, MATH500
from rmas.eval.tasks.programs import HUMANEVAL, MBPP, MBPP_PLUS
from rmas.eval.tasks.search import BAMBOOGLE, HOTPOTQA

__all__ = ["GENERATED", "TASKS"]

GENERATED: Mapping[str, Callable[[str], Task]] = {
    GYM: gym_task,
    DEAL: deal_task,
    RELAY: relay_task,
}  # by prefix

TASKS: Mapping[str, Task] = {
    "math500": MATH500,
    "aime2025": AIME2025,
    "aime2026": AIME2026,
    "gpqa_diamond": GPQA_DIAMOND,
    "medqa": MEDQA,
    "livecodebench": LIVECODEBENCH,
    "mbpp_plus": MBPP_PLUS,
    "hotpotqa": HOTPOTQA,
    "bamboogle": BAMBOOGLE,
    "gsm8k": GSM8K,
    "humaneval": HUMANEVAL,
    "mbpp": MBPP,
}
