"""The model card of a bundle: a README.md as the hub reads it, from facts alone. No torch.

Nothing is written that a run did not hand in; what nobody measured is "not measured".
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rmas.errors import CheckpointError
from rmas.settings import CONTROLS
from rmas.train.facts import CardFacts, TrainingFacts
from rmas.train.journal import CURVES
from rmas.wholefile import write_whole

CARD = "README.md"
PLACE = "FOLDER"  # stands where a reader's own folder, or the name on the hub, belongs
_CONTROLS = {f"accuracy_{control}": told for control, told in CONTROLS.items()}


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write `README.md` into `folder`, in one go. Raises CheckpointError where that cannot be."""
    path = folder / CARD
    try:
        write_whole(path, card_text(facts))
    except OSError as problem:
        raise CheckpointError(
            f"{path}: cannot be written ({problem.strerror or problem}). Free some room or check the path."
        ) from None


def card_text(facts: CardFacts) -> str:
    """The card as Markdown, after a head of YAML."""
    training = facts.training
    blocks = [
        _head(facts),
        f"# {facts.name}" + (f": trained {training.trained}" if training else ""),
        _what(facts),
        _use(),
        f"## Pattern\n\n```text\n{facts.picture}\n```",
        _agents(facts),
        _links(facts),
        *(_trained(facts, training) if training else ["## Training\n\nNot recorded in this bundle."]),
        _limits(facts),
        _licence(facts),
    ]
    return "\n\n".join(blocks) + "\n"


def _trained(facts: CardFacts, training: TrainingFacts) -> list[str]:
    return [_training(training), _figures(facts, training) if training.stage == "outer" else _cosines(facts, training)]


def _head(facts: CardFacts) -> str:
    """The front matter. JSON strings are YAML strings, whatever they hold."""
    models = _models(facts)
    lines = ["---", "library_name: rmas", "tags:"]
    lines += [f"- {json.dumps(tag)}" for tag in ("rmas", "recursive-multi-agent", "latent-reasoning", facts.pattern)]
    lines += ["base_model:", *(f"- {json.dumps(model)}" for model in models)] if models else []
    return "\n".join([*lines, "# license: yours to choose; the base models keep their own", "---"])


def _what(facts: CardFacts) -> str:
    kind = "learned vectors, the same for every question," if facts.is_constant else "latent vectors"
    message = f"{'up to ' if facts.halts else ''}{facts.latent_steps} {kind}"
    return (
        f"The links of a recursive multi-agent system: {len(facts.agents)} frozen language models in the pattern "
        f"`{facts.pattern}` that pass each other {message} a turn for {facts.rounds} "
        f"round{'s' if facts.rounds > 1 else ''}; then `{facts.answerer}` writes the answer. This folder holds links, "
        "not the models."
    )


def _use() -> str:
    return f"""## Use

```sh
rmas ask {PLACE} "Your question"
```

```python
from rmas import Question, RecursiveSolver, load_system

solver = RecursiveSolver(load_system("{PLACE}"))
print(solver.solve([Question(text="Your question")])[0].text)
```"""


def _agents(facts: CardFacts) -> str:
    rows = [
        (agent.role, agent.hub_id or agent.backbone, agent.revision or "not from the hub", agent.width)
        for agent in facts.agents
    ]
    return "## Agents\n\n" + _table(("role", "model", "revision", "width"), rows)


def _links(facts: CardFacts) -> str:
    rows = [("inner", agent.role, agent.inner, f"{agent.num_parameters:,}") for agent in facts.agents]
    rows += [("outer", edge.edge, edge.design, f"{edge.num_parameters:,}") for edge in facts.edges]
    total = sum(agent.num_parameters for agent in facts.agents) + sum(edge.num_parameters for edge in facts.edges)
    rows.append(("all", "", "", f"{total:,}"))
    table = _table(("link", "of", "design", "parameters"), rows)
    here = f"Trained here: {facts.training.trained}. " if facts.training else ""
    return f"## Links\n\n{table}\n\n{here}Digest `{facts.digest}`."


def _training(facts: TrainingFacts) -> str:
    ended = "" if facts.is_complete else ", stopped before its end"
    kept = f"; kept: step {facts.best_step}, the best on dev" if facts.dev is not None else ""
    lines = [
        f"- stage: {facts.stage}",
        f"- data: `{facts.config['data']}`, {facts.num_train:,} examples to train on, {facts.num_dev:,} held out (dev)",
        f"- steps: {facts.steps:,} of {facts.config['steps']:,}{ended}{kept}",
        "- versions: " + ", ".join(f"{name} {number}" for name, number in facts.versions.items()),
        *(f"- note: {note}" for note in facts.notes),
    ]
    rows = [(key, f"`{_shown(value)}`") for key, value in facts.config.items() if key != "data"]
    picture = f"\n\n![Loss and dev accuracy by step]({CURVES})" if facts.has_curves else ""
    return "## Training\n\n" + "\n".join(lines) + "\n\n" + _table(("setting", "value"), rows) + picture


def _cosines(facts: CardFacts, training: TrainingFacts) -> str:
    """Each inner link's dev cosine, beside what it began with and what one constant vector reaches."""
    dev = training.dev or {}
    header = ("agent", "cosine", "before training", "best constant", "norm, of the target's")
    names = ("cosine_{}", "cosine_{}_start", "cosine_{}_constant", "norm_{}")
    rows = [(agent.role, *(_number(dev, name.format(agent.role)) for name in names)) for agent in facts.agents]
    told = "How near the links come to the embeddings that follow; how well the system answers is not measured here."
    return f"## Dev figures\n\n{_table(header, rows)}\n\nDev loss: {_number(dev, 'loss')}. {told}"


def _figures(facts: CardFacts, training: TrainingFacts) -> str:
    """Dev accuracy with its standard error, after each round, and with each control in the messages' place."""
    dev = training.dev or {}
    names = {f"accuracy_r{number}": f"the messages, answered after round {number}" for number in range(1, facts.rounds)}
    names |= {"accuracy": f"the messages, answered after round {facts.rounds}"} | _CONTROLS
    rows = [(label, _rate(dev, name)) for name, label in names.items()]
    text = f"## Dev figures\n\n{_table(('agents receive', 'accuracy'), rows)}\n\nDev loss: {_number(dev, 'loss')}."
    if {"accuracy", "accuracy_shuffled", "n"} <= dev.keys():
        gap = dev["accuracy"] - dev["accuracy_shuffled"]
        error = math.hypot(_error(dev, "accuracy"), _error(dev, "accuracy_shuffled"))
        text += f" What the messages' content is worth (real less shuffled): {gap:+.3f} ± {error:.3f}."
    return text + " ± is one standard error; answers are greedy and right only if they match exactly."


def _limits(facts: CardFacts) -> str:
    lines = ["The links fit these models and no others; loading them into another system is refused."]
    if facts.own_prompts:
        lines.append("The links go with the prompts in this bundle; with others they are not what they were.")
    if facts.training is None:
        lines.append("No figures come with this bundle: how well it answers is not known here.")
    else:
        lines += _limits_of(facts.training)
    if facts.is_constant:
        lines.append("Its messages are constants: a control, no collaboration.")
    elif facts.training and facts.training.stage == "outer" and "accuracy_shuffled" not in (facts.training.dev or {}):
        lines.append("Shuffled messages were not measured: whether the messages carry content is not known.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _limits_of(training: TrainingFacts) -> list[str]:
    lines = []
    if "accuracy" not in (training.dev or {}):
        lines.append("No accuracy was measured in this training.")
    if training.dev is not None:
        lines.append("The figures above are of training's own dev questions, not of a test set.")
    if training.dev is not None and training.num_dev_evaluations > 1:
        lines.append(f"The kept step is the best of {training.num_dev_evaluations} dev evaluations: they flatter it.")
    if not training.is_complete:
        lines.append("The training was stopped before its end.")
    return lines


def _licence(facts: CardFacts) -> str:
    lines = ["This card sets no licence for the links: whoever publishes them does, by `license:` in its head."]
    lines += [f"`{model}` keeps its own: https://huggingface.co/{model}" for model in _models(facts)]
    if facts.training is not None:
        lines.append("So does the data that the links were trained on.")
    if facts.own_prompts:
        lines.append("So do the prompts in this bundle, where somebody else wrote them.")
    return "## Licences\n\n" + "\n".join(f"- {line}" for line in lines)


def _models(facts: CardFacts) -> list[str]:
    return sorted({agent.hub_id for agent in facts.agents if agent.hub_id is not None})


def _rate(dev: Mapping[str, float], name: str) -> str:
    if name not in dev:
        return "not measured"
    return f"{dev[name]:.3f} ± {_error(dev, name):.3f} (n = {dev['n']:,.0f})" if "n" in dev else f"{dev[name]:.3f}"


def _number(dev: Mapping[str, float], name: str) -> str:
    return f"{dev[name]:.4f}" if name in dev else "not measured"


def _error(dev: Mapping[str, float], name: str) -> float:
    """The binomial standard error of an accuracy."""
    return math.sqrt(dev[name] * (1 - dev[name]) / dev["n"])


def _shown(value: object) -> str:
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
