"""The released inference, longhand: written from its description, without the package's engine, links or prompts.

One question at a time. A prompt is rendered to a string with a marker in each slot, cut there, and each piece tokenised
apart. Every latent step and every token of the answer reads the whole sequence again, without positions and without a
cache, through the whole model. All in float64.

`L` positions, `M` latent steps, `D` width.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jinja2.exceptions import TemplateError
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear

from release_zoo import TEAMS, Repositories

PACK = Path(__file__).parent.parent / "src" / "rmas" / "prompts" / "released"
MARK = "<<SLOT:{}>>"
State = Mapping[str, Tensor]


class Agent(NamedTuple):
    model: Any
    tokenizer: Any
    inner: State


class Outcome(NamedTuple):
    """What every think turn sent along each edge, as ("round source->target", (M, D)), and the ids of the answer."""

    sent: list[tuple[str, Tensor]]
    ids: list[int]


class Asked(NamedTuple):
    """The question, the kind of task, and how the run is made. `function`: that a code task asks for."""

    text: str
    kind: str = "math"
    function: str = ""
    rounds: int = 3
    latent_steps: int = 3
    new_tokens: int = 4


@torch.no_grad()
def released_run(name: str, repositories: Repositories, asked: Asked, *, task: str | None) -> Outcome:
    """The rounds of a released system."""
    team = TEAMS[name]
    agents = {role: open_agent(folder, task if team.tasks else None) for role, folder in repositories.roles.items()}
    outer = open_outer(repositories.outer, task)
    pattern, sent = name.partition("-")[0], []
    *helpers, last = team.roles
    feedback: dict[str, Tensor] = {}  # to whom the last agent's message goes
    for r in range(1, asked.rounds + 1):
        inbox: dict[str, Tensor] = {}
        for role in helpers:
            heard = {last: feedback[role]} if role in feedback else {}
            if pattern == "sequential" and role == "critic":  # the one chain: it hears the planner
                heard = {"planner": inbox.pop("planner")}
            h_MD = rollout(agents[role], embedded(agents[role], pattern, role, asked, heard), asked.latent_steps)
            for key, (source, target) in team.keys.items():
                if source == role:
                    message = outer_link(outer[key], inner_link(agents[role].inner, h_MD))
                    sent.append((f"{r} {source}->{target}", message))
                    inbox[source] = message
        prompt = embedded(agents[last], pattern, last, asked, inbox)
        if r == asked.rounds:
            return Outcome(sent, decoded(agents[last], prompt, asked.new_tokens))
        h_MD = rollout(agents[last], prompt, asked.latent_steps)
        for key, (source, target) in team.keys.items():
            if source == last:
                feedback[target] = outer_link(outer[key], inner_link(agents[last].inner, h_MD))
                sent.append((f"{r} {source}->{target}", feedback[target]))
    raise AssertionError


def open_agent(folder: Path, task: str | None) -> Agent:
    """A role repository: its model in float64, its tokenizer, its inner link."""
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    name = "adapter.pt" if task is None else f"adapter({task}).pt"
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    weights = {key: tensor.double() for key, tensor in load_file(folder / "model.safetensors").items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert set(missing) <= {"lm_head.weight"}
    assert not unexpected
    model.tie_weights()
    return Agent(model, AutoTokenizer.from_pretrained(folder), opened(folder / name))


def open_outer(folder: Path, task: str | None) -> dict[str, State]:
    manifest = json.loads((folder / "outerlink_config.json").read_text(encoding="utf-8"))
    rows = manifest["adapters"] if "adapters" in manifest else manifest["tasks"][task or "math"]["adapters"]
    return {row["legacy_key"]: opened(folder / row["filename"]) for row in rows}


def opened(path: Path) -> State:
    return {name: tensor.double() for name, tensor in torch.load(path, weights_only=True).items()}


def inner_link(w: State, x: Tensor) -> Tensor:
    """LayerNorm, proj1, GELU, proj2, plus what came in, LayerNorm."""
    y = linear(norm(w, "pre_ln", x), w["proj1.weight"], w["proj1.bias"])
    return norm(w, "post_ln", linear(gelu(y), w["proj2.weight"], w["proj2.bias"]) + x)


def outer_link(w: State, x: Tensor) -> Tensor:
    """LayerNorm, proj1, GELU, proj2, plus residual_proj of what came in, LayerNorm."""
    y = linear(norm(w, "ln_source", x), w["proj1.weight"], w["proj1.bias"])
    y = linear(gelu(y), w["proj2.weight"], w["proj2.bias"])
    return norm(w, "ln_target", y + linear(x, w["residual_proj.weight"], w["residual_proj.bias"]))


def norm(w: State, name: str, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)


def rollout(agent: Agent, x_LD: Tensor, latent_steps: int) -> Tensor:
    """The M states at the last position, each step over the whole sequence."""
    states = []
    for _ in range(latent_steps):
        states.append(read(agent, x_LD))
        x_LD = torch.cat([x_LD, inner_link(agent.inner, states[-1])[None]])
    return torch.stack(states)


def decoded(agent: Agent, x_LD: Tensor, new_tokens: int) -> list[int]:
    """Greedy ids."""
    ids: list[int] = []
    while len(ids) < new_tokens:
        ids.append(int(agent.model.get_output_embeddings()(read(agent, x_LD)).argmax()))
        if ids[-1] == agent.tokenizer.eos_token_id:
            return ids
        x_LD = torch.cat([x_LD, agent.model.get_input_embeddings()(torch.tensor(ids[-1:]))])
    return ids


def read(agent: Agent, x_LD: Tensor) -> Tensor:
    """The last position's state after the final norm."""
    mask = torch.ones(1, len(x_LD), dtype=torch.int64)
    out = agent.model(inputs_embeds=x_LD[None], attention_mask=mask, use_cache=False, output_hidden_states=True)
    h: Tensor = out.hidden_states[-1][0, -1]
    return h


def embedded(agent: Agent, pattern: str, role: str, asked: Asked, inbox: Mapping[str, Tensor]) -> Tensor:
    """The prompt, its pieces through the embedding module and messages between them."""
    embed = agent.model.get_input_embeddings()
    pieces = tokenised(agent.tokenizer, *worded(pattern, role, asked, inbox), list(slots(pattern, role, asked, inbox)))
    parts = [embed(torch.tensor(pieces[0], dtype=torch.int64))]
    for source, ids in zip(slots(pattern, role, asked, inbox), pieces[1:], strict=True):
        parts += [inbox[source], embed(torch.tensor(ids, dtype=torch.int64))]
    return torch.cat(parts)


def tokenised(tokenizer: Any, system: str, user: str, sources: Sequence[str]) -> list[list[int]]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        messages = [{"role": "user", "content": f"{system}\n\n{user}"}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    pieces = []
    for source in sources:
        piece, _, text = text.partition(MARK.format(source))
        pieces.append(piece)
    return [tokenizer(piece, add_special_tokens=False).input_ids for piece in [*pieces, text]]


def worded(pattern: str, role: str, asked: Asked, inbox: Mapping[str, Tensor]) -> tuple[str, str]:
    """The system text and the user text, with a marker in each slot."""
    table = tomllib.loads((PACK / f"{pattern}.toml").read_text(encoding="utf-8"))["roles"][role]
    table = {**table, **table.get("tasks", {}).get(asked.kind, {})}
    task = tomllib.loads((PACK / "tasks.toml").read_text(encoding="utf-8"))[asked.kind]
    there = {*inbox, "function"} if asked.function else {*inbox}
    user = "".join(standing(table["sections"], there)).replace("{context}", "").replace("{answer}", task["answer"])
    for source in TEAMS_ROLES:
        user = user.replace(f"{{{source}}}", MARK.format(source) if source in inbox else "")
    return table["system"], user.replace("{question}", asked.text).replace("{function}", asked.function)


def slots(pattern: str, role: str, asked: Asked, inbox: Mapping[str, Tensor]) -> list[str]:
    """The sources in the order of their slots."""
    _, user = worded(pattern, role, asked, inbox)
    return sorted(inbox, key=lambda source: user.index(MARK.format(source)))


def standing(sections: Sequence[Any], there: set[str]) -> list[str]:
    rows = [{"text": section} if isinstance(section, str) else section for section in sections]
    rows = [row for row in rows if "{tools}" not in row["text"]]  # there are none
    return [row["text"] for row in rows if row.get("after", "") in {"", *there} and row.get("unless") not in there]


TEAMS_ROLES = sorted({role for team in TEAMS.values() for role in team.roles})
