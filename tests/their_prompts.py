"""A synthetic `prompts.py`: builders of the names and shapes that the release has, every sentence our own.

A template for str.replace would do for one builder; these branch as theirs do: on the task, on lettered lines, on a
missing line about options.
"""

NOTES = 'system_prompt = "You may call <python> and <search>.\\nThink in {steps}, end in \\\\boxed{}."\n'
PROMPTS = r"""
import re
from inference_utils.reflector_tool_notes import system_prompt as _notes

SYSTEM_PROMPT = "You are a tidy assistant."
DELIBERATION_SYSTEM_PROMPT = _notes
_OPTIONS = re.compile(r"^\s*[A-D][.):-]", re.MULTILINE)
print("their module prints when it is imported")


def get_system_prompt(mas_design="chain", mas_role=None):
    return DELIBERATION_SYSTEM_PROMPT if mas_design == "deliberation" else SYSTEM_PROMPT


def _ending(question):
    kind, example = ("the letter", "A") if _OPTIONS.search(question) else ("the result", "7")
    return f"Put {kind} in \\boxed{{}}, as \\boxed{{{example}}}."


def build_math_planner_prompt(question):
    return f"Plan, planner.\nQuestion:\n{question}\n\nStep 1: {{...}}\nStep 2: ..."


def build_math_planner_prompt_with_feedback_slot(question):
    said = "The solver said:\n<<LATENT_FEEDBACK_SLOT>>"
    return f"Plan again, in round 2.\n{question}\n{said}\nWeigh it softly.\nSteps only."


def build_math_refiner_prompt_with_slot(question):
    return f"Refine.\nQ:\nThe task:\n{question}\n\nPlan:\nIts text:\n<<LATENT_PLANNER_SLOT>>\n\nMend it."


def build_math_solver_prompt_with_slots(question, args, mas_shape="chain"):
    if args.choice_old_prompt and _OPTIONS.search(question):
        return f"Solve.\n<<LATENT_REFINED_SLOT>>\n{question}\nFinal Choice:"
    if args.solver_pre_question:
        return f"Solve.\n{question}\n<<LATENT_REFINED_SLOT>>\n\n" + _ending(question)
    return f"Solve.\nThe plan:\n<<LATENT_REFINED_SLOT>>\nThe task:\n{question}\n\n{_ending(question)}"


def _interface(task_type, fn_name):
    if task_type == "function":
        return f"Return only the function `{fn_name}`." if fn_name else "Return only the function."
    return "Write a whole program: stdin to stdout."


def build_code_planner_prompt(question, task_type, fn_name=None):
    return f"Plan the code.\n{_interface(task_type, fn_name)}\nProblem:\n{question}\nNo code."


def build_code_planner_prompt_with_feedback_slot(question, task_type, fn_name=None):
    return f"Later round.\n{_interface(task_type, fn_name)}\n{question}\nHeard:\n<<LATENT_FEEDBACK_SLOT>>\nNo code."


def build_code_refiner_prompt_with_slot(question, task_type, fn_name=None):
    return f"Refine.\n{_interface(task_type, fn_name)}\n---\n{question}\n<<LATENT_PLANNER_SLOT>>\nNo code."


def build_code_solver_prompt_with_slots(question, task_type, args=None, mas_shape="chain", fn_name=None):
    name = f" Call it {fn_name}, {fn_name} alone." if fn_name else ""
    return (
        f"Solve.\n{_interface(task_type, fn_name)}\n<<LATENT_REFINED_SLOT>>\n---\n{question}\n"
        "```python\\nyour code\n```" + name
    )


def _task(question, mas_task, task_type, fn_name):
    if mas_task == "code":
        return f"{_interface(task_type, fn_name)}\nProblem:\n{question}\n"
    if mas_task == "choice" and "choose one of" not in question.lower():
        question = question + "\nChoose one of the options."
    return f"Question:\nThe task:\n{question}\n"


def _final(mas_task):
    return {"math": "\\boxed{7}", "choice": "\\boxed{A}", "code": "```python\\n```"}[mas_task]


def build_hie_expert_prompt(question, hie_role, mas_task="math", task_type="complete", fn_name=None):
    return f"You: {hie_role}.\n" + _task(question, mas_task, task_type, fn_name)


def build_hie_expert_prompt_with_feedback_slot(question, hie_role, mas_task="math", task_type="complete", fn_name=None):
    task = _task(question, mas_task, task_type, fn_name)
    return f"Again: {hie_role}.\nHeard:\n<<HIE_FEEDBACK_SLOT>>\nSoftly.\n{task}"


def build_hie_summarizer_prompt_with_slots(question, mas_task, task_type, fn_name):
    slots = "\n".join(f"{k}:\n<<HIE_{k.upper()}_EXPERT_SLOT>>" for k in ("math", "code", "science"))
    return f"Sum up.\n{slots}\n---\n{_task(question, mas_task, task_type, fn_name)}\n{_final(mas_task)}"


def build_distill_expert_prompt(question, mas_task, task_type, fn_name):
    return "Guide.\n" + _task(question, mas_task, task_type, fn_name) + "Plan, no answer."


def build_distill_expert_prompt_with_feedback_slot(question, mas_task, task_type, fn_name):
    return "Guide on.\n<<DISTILL_FEEDBACK_SLOT>>\n" + _task(question, mas_task, task_type, fn_name) + "New plan."


def build_distill_learner_prompt_with_slot(question, mas_task, task_type, fn_name):
    return f"Learn.\n<<DISTILL_EXPERT_SLOT>>\n---\n{_task(question, mas_task, task_type, fn_name)}\n{_final(mas_task)}"


def build_deliberation_reflector_prompt(question, mas_task, task_type, fn_name):
    return "Reflect.\nTools may be used.\n" + _task(question, mas_task, task_type, fn_name)


def build_deliberation_reflector_prompt_with_feedback_slot(question, mas_task, task_type, fn_name):
    task = _task(question, mas_task, task_type, fn_name)
    return f"Reflect.\nHeard:\n<<DELIBERATION_FEEDBACK_SLOT>>\nSoftly.\nTools may be used.\n{task}"


def build_deliberation_toolcaller_prompt_with_slot(question, mas_task, task_type, fn_name):
    task = _task(question, mas_task, task_type, fn_name)
    return f"Act.\n<<DELIBERATION_REFLECTOR_SLOT>>\nTools may be used.\n---\n{task}\n{_final(mas_task)}"
"""
