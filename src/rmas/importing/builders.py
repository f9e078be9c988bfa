"""Which builder of the release words which prompt of ours. Identifiers are theirs; they are the interface.

A builder is called once for each kind of task that it serves, code tasks for a whole program and for a function, and
gives the user's text with a marker in each slot.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rmas.prompt import Kind

CHAIN_SYSTEM, TOOL_SYSTEM = "SYSTEM_PROMPT", "DELIBERATION_SYSTEM_PROMPT"
KINDS: tuple[Kind, ...] = ("math", "choice", "code")  # `open` and `search` are worded like math, as theirs are


@dataclass(frozen=True, kw_only=True)
class Builder:
    """One of their functions: the prompt of `role`, whose markers stand for messages of those sources.

    `is_later`: of rounds in which `heard` has written; else `heard`, where there is one, has not. `about_task`: it is
    told the kind of task; else it serves `kinds` alone. `arguments`: more that it is called with, by name.
    """

    name: str
    role: str
    slots: Mapping[str, str]
    heard: str = ""
    is_later: bool = False
    kinds: tuple[Kind, ...] = KINDS
    about_task: bool = False
    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """The builders of a pattern, and the constant with its system text."""

    system: str
    builders: tuple[Builder, ...]


def _first_and_later(
    stem: str, role: str, heard: str, marker: str, *, feedback: str = "_with_feedback_slot", **more: Any
) -> tuple[Builder, ...]:
    """The builder of an agent that hears back, in the first round and in later ones."""
    return (
        Builder(name=stem, role=role, slots={}, heard=heard, **more),
        Builder(name=stem + feedback, role=role, slots={marker: heard}, heard=heard, is_later=True, **more),
    )


def _expert(role: str) -> tuple[Builder, ...]:
    arguments = {"hie_role": f"hie_{role}_expert"}
    return _first_and_later(
        "build_hie_expert_prompt", role, "summarizer", "<<HIE_FEEDBACK_SLOT>>", about_task=True, arguments=arguments
    )


_MATH: tuple[Kind, ...] = ("math", "choice")
_CODE: tuple[Kind, ...] = ("code",)
_PLAN, _REFINED, _BACK = "<<LATENT_PLANNER_SLOT>>", "<<LATENT_REFINED_SLOT>>", "<<LATENT_FEEDBACK_SLOT>>"
_EXPERTS = {f"<<HIE_{role.upper()}_EXPERT_SLOT>>": role for role in ("math", "code", "science")}

FAMILIES: Mapping[str, Family] = {
    "sequential": Family(
        system=CHAIN_SYSTEM,
        builders=(
            *_first_and_later("build_math_planner_prompt", "planner", "solver", _BACK, kinds=_MATH),
            *_first_and_later("build_code_planner_prompt", "planner", "solver", _BACK, kinds=_CODE),
            Builder(name="build_math_refiner_prompt_with_slot", role="critic", slots={_PLAN: "planner"}, kinds=_MATH),
            Builder(name="build_code_refiner_prompt_with_slot", role="critic", slots={_PLAN: "planner"}, kinds=_CODE),
            Builder(
                name="build_math_solver_prompt_with_slots",
                role="solver",
                slots={_REFINED: "critic"},
                kinds=_MATH,
                arguments={"args": "args"},
            ),
            Builder(
                name="build_code_solver_prompt_with_slots",
                role="solver",
                slots={_REFINED: "critic"},
                kinds=_CODE,
                arguments={"args": "args"},
            ),
        ),
    ),
    "mixture": Family(
        system=CHAIN_SYSTEM,
        builders=(
            *_expert("math"),
            *_expert("code"),
            *_expert("science"),
            Builder(name="build_hie_summarizer_prompt_with_slots", role="summarizer", slots=_EXPERTS, about_task=True),
        ),
    ),
    "distillation": Family(
        system=CHAIN_SYSTEM,
        builders=(
            *_first_and_later(
                "build_distill_expert_prompt", "expert", "learner", "<<DISTILL_FEEDBACK_SLOT>>", about_task=True
            ),
            Builder(
                name="build_distill_learner_prompt_with_slot",
                role="learner",
                slots={"<<DISTILL_EXPERT_SLOT>>": "expert"},
                about_task=True,
            ),
        ),
    ),
    "deliberation": Family(
        system=TOOL_SYSTEM,
        builders=(
            *_first_and_later(
                "build_deliberation_reflector_prompt",
                "reflector",
                "toolcaller",
                "<<DELIBERATION_FEEDBACK_SLOT>>",
                about_task=True,
            ),
            Builder(
                name="build_deliberation_toolcaller_prompt_with_slot",
                role="toolcaller",
                slots={"<<DELIBERATION_REFLECTOR_SLOT>>": "reflector"},
                about_task=True,
            ),
        ),
    ),
}


def keywords(builder: Builder, kind: Kind, function: str) -> tuple[tuple[str, Any], ...]:
    """What `builder` is called with besides the question, by name. `function`: empty for a whole program."""
    told: dict[str, Any] = dict(builder.arguments or {})
    if builder.about_task:
        told["mas_task"] = kind
    if builder.about_task or kind == "code":
        told |= {"task_type": "function" if function else "complete", "fn_name": function or None}
    return tuple(told.items())
