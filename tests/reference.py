"""The oracle: every shipped pattern spelled out longhand. No engine, no cache, no batching, one question at a time.

Each function is its pattern's loop as one would write it on paper. The whole prompt is run again at every latent
step and at every written token, through the full model with all hidden states and the vocabulary head. It shares
with the package only the rendered prompts, the raw transformers model and the links. This is the one file in which
we repeat ourselves, on purpose.

`L` positions, `M` latent steps, `D` width.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from rmas.conversation import Slot
from rmas.pattern import Edge
from rmas.prompt import Question
from rmas.system import System

Inbox = Mapping[str, Tensor]  # source -> the message as the receiver reads it, (M, D)


class Setup(NamedTuple):
    """What every pattern is given."""

    system: System
    question: Question
    rounds: int
    latent_steps: int
    new_tokens: int


class Outcome(NamedTuple):
    """The thoughts of every turn in order, as ("round role", z_MD), and the ids that the answerer wrote."""

    thoughts: list[tuple[str, Tensor]]
    ids: list[int]


@torch.no_grad()
def reference(pattern: str, setup: Setup) -> Outcome:
    """Run one of PATTERNS."""
    return PATTERNS[pattern](setup)


def solo(s: Setup) -> Outcome:
    """The solver answers in the last round; what it thought before, nobody reads."""
    thoughts: list[tuple[str, Tensor]] = []
    for r in range(1, s.rounds + 1):
        if r == s.rounds:
            return Outcome(thoughts, answer(s, "solver", {}))
        thoughts.append((f"{r} solver", think(s, "solver", {})))
    raise AssertionError


def sequential(s: Setup) -> Outcome:
    """planner -> critic -> solver; the solver's thought reaches the planner of the next round."""
    thoughts = []
    to_planner: Inbox = {}
    for r in range(1, s.rounds + 1):
        plan = think(s, "planner", to_planner)
        thoughts.append((f"{r} planner", plan))
        better = think(s, "critic", {"planner": carry(s, "planner", "critic", plan)})
        thoughts.append((f"{r} critic", better))
        to_solver = {"critic": carry(s, "critic", "solver", better)}
        if r == s.rounds:
            return Outcome(thoughts, answer(s, "solver", to_solver))
        solution = think(s, "solver", to_solver)
        thoughts.append((f"{r} solver", solution))
        to_planner = {"solver": carry(s, "solver", "planner", solution)}
    raise AssertionError


def mixture(s: Setup) -> Outcome:
    """math, code and science side by side -> summarizer, whose thought goes back to each of the three."""
    thoughts = []
    to_math: Inbox = {}
    to_code: Inbox = {}
    to_science: Inbox = {}
    for r in range(1, s.rounds + 1):
        math = think(s, "math", to_math)
        code = think(s, "code", to_code)
        science = think(s, "science", to_science)
        thoughts += [(f"{r} math", math), (f"{r} code", code), (f"{r} science", science)]
        to_summarizer = {
            "math": carry(s, "math", "summarizer", math),
            "code": carry(s, "code", "summarizer", code),
            "science": carry(s, "science", "summarizer", science),
        }
        if r == s.rounds:
            return Outcome(thoughts, answer(s, "summarizer", to_summarizer))
        summary = think(s, "summarizer", to_summarizer)
        thoughts.append((f"{r} summarizer", summary))
        to_math = {"summarizer": carry(s, "summarizer", "math", summary)}
        to_code = {"summarizer": carry(s, "summarizer", "code", summary)}
        to_science = {"summarizer": carry(s, "summarizer", "science", summary)}
    raise AssertionError


def distillation(s: Setup) -> Outcome:
    """expert -> learner; the learner reports back."""
    thoughts = []
    to_expert: Inbox = {}
    for r in range(1, s.rounds + 1):
        guidance = think(s, "expert", to_expert)
        thoughts.append((f"{r} expert", guidance))
        to_learner = {"expert": carry(s, "expert", "learner", guidance)}
        if r == s.rounds:
            return Outcome(thoughts, answer(s, "learner", to_learner))
        attempt = think(s, "learner", to_learner)
        thoughts.append((f"{r} learner", attempt))
        to_expert = {"learner": carry(s, "learner", "expert", attempt)}
    raise AssertionError


def deliberation(s: Setup) -> Outcome:
    """reflector -> toolcaller; the toolcaller reports back."""
    thoughts = []
    to_reflector: Inbox = {}
    for r in range(1, s.rounds + 1):
        reflection = think(s, "reflector", to_reflector)
        thoughts.append((f"{r} reflector", reflection))
        to_toolcaller = {"reflector": carry(s, "reflector", "toolcaller", reflection)}
        if r == s.rounds:
            return Outcome(thoughts, answer(s, "toolcaller", to_toolcaller))
        finding = think(s, "toolcaller", to_toolcaller)
        thoughts.append((f"{r} toolcaller", finding))
        to_reflector = {"toolcaller": carry(s, "toolcaller", "reflector", finding)}
    raise AssertionError


def debate(s: Setup) -> Outcome:
    """pro and con, who do not see each other -> judge, whose thought goes back to both."""
    thoughts = []
    to_pro: Inbox = {}
    to_con: Inbox = {}
    for r in range(1, s.rounds + 1):
        pro = think(s, "pro", to_pro)
        con = think(s, "con", to_con)
        thoughts += [(f"{r} pro", pro), (f"{r} con", con)]
        to_judge = {"pro": carry(s, "pro", "judge", pro), "con": carry(s, "con", "judge", con)}
        if r == s.rounds:
            return Outcome(thoughts, answer(s, "judge", to_judge))
        verdict = think(s, "judge", to_judge)
        thoughts.append((f"{r} judge", verdict))
        to_pro = {"judge": carry(s, "judge", "pro", verdict)}
        to_con = {"judge": carry(s, "judge", "con", verdict)}
    raise AssertionError


def ring(s: Setup) -> Outcome:
    """scout -> planner -> worker -> checker -> writer -> the scout of the next round."""
    thoughts = []
    to_scout: Inbox = {}
    for r in range(1, s.rounds + 1):
        find = think(s, "scout", to_scout)
        plan = think(s, "planner", {"scout": carry(s, "scout", "planner", find)})
        work = think(s, "worker", {"planner": carry(s, "planner", "worker", plan)})
        check = think(s, "checker", {"worker": carry(s, "worker", "checker", work)})
        thoughts += [(f"{r} scout", find), (f"{r} planner", plan), (f"{r} worker", work), (f"{r} checker", check)]
        to_writer = {"checker": carry(s, "checker", "writer", check)}
        if r == s.rounds:
            return Outcome(thoughts, answer(s, "writer", to_writer))
        text = think(s, "writer", to_writer)
        thoughts.append((f"{r} writer", text))
        to_scout = {"writer": carry(s, "writer", "scout", text)}
    raise AssertionError


def looped(s: Setup) -> Outcome:
    """One agent that reads what it thought in the round before."""
    thoughts = []
    to_itself: Inbox = {}
    for r in range(1, s.rounds):
        thought = think(s, "solver", to_itself)
        thoughts.append((f"{r} solver", thought))
        to_itself = {"solver": carry(s, "solver", "solver", thought)}
    return Outcome(thoughts, answer(s, "solver", to_itself))


PATTERNS: Mapping[str, Callable[[Setup], Outcome]] = {
    "debate": debate,
    "deliberation": deliberation,
    "distillation": distillation,
    "looped": looped,
    "mixture": mixture,
    "ring": ring,
    "sequential": sequential,
    "solo": solo,
}


def carry(s: Setup, source: str, target: str, z_MD: Tensor) -> Tensor:
    """A thought through the outer link of an edge, one latent at a time -> (M, D_target)."""
    link = s.system.outer[str(Edge(source, target))]
    return torch.stack([link(z_D) for z_D in z_MD])


def think(s: Setup, role: str, inbox: Inbox) -> Tensor:
    """M latents -> z_MD: the last state through the inner link, put behind the prompt, and everything run again."""
    x_LD = prompt(s, role, inbox)
    latents: list[Tensor] = []
    for _ in range(s.latent_steps):
        h_D, _ = run_model(s, role, x_LD)
        z_D = s.system.inner[role](h_D)
        latents.append(z_D)
        x_LD = torch.cat([x_LD, z_D[None]])
    return torch.stack(latents)


def answer(s: Setup, role: str, inbox: Inbox) -> list[int]:
    """Greedy ids: the most likely token, put behind the prompt, and everything run again; ends after an end token."""
    x_LD = prompt(s, role, inbox)
    ids: list[int] = []
    while len(ids) < s.new_tokens:
        _, logits_V = run_model(s, role, x_LD)
        ids.append(int(logits_V.argmax()))
        if ids[-1] in s.system.backbones[role].eos_ids:
            break
        x_LD = torch.cat([x_LD, embed(s, role, (ids[-1],))])
    return ids


def prompt(s: Setup, role: str, inbox: Inbox) -> Tensor:
    """The rendered prompt as embeddings, messages in their slots -> x_LD."""
    tokenizer = s.system.backbones[role].tokenizer
    rendered = s.system.spec.pack.render(role, s.question, tokenizer, filled=frozenset(inbox))
    parts = [embed(s, role, rendered.head)]
    for part in rendered.body:
        parts.append(inbox[part.source] if isinstance(part, Slot) else embed(s, role, part))
    return torch.cat(parts)


def embed(s: Setup, role: str, ids: tuple[int, ...]) -> Tensor:
    """Ids through the model's embedding module -> (L, D)."""
    x_LD: Tensor = s.system.backbones[role].model.get_input_embeddings()(torch.tensor(ids))
    return x_LD


def run_model(s: Setup, role: str, x_LD: Tensor) -> tuple[Tensor, Tensor]:
    """The full model over the whole sequence -> the last position's state after the final norm, and its logits."""
    out = s.system.backbones[role].model(inputs_embeds=x_LD[None], use_cache=False, output_hidden_states=True)
    return out.hidden_states[-1][0, -1], out.logits[0, -1]
