"""A pattern of your own in three files: who writes to whom, what each is told, which model each is."""

import tempfile
from pathlib import Path

from rmas import Question, RecursiveSolver, load_system

FILES = {
    "review.toml": """schedule = [["writer"], ["editor"]]
edges = [["writer", "editor"], ["editor", "writer"]]
answerer = "editor"
""",
    "review_prompts.toml": """roles.writer.system = "You draft answers."
roles.writer.sections = ["Draft an answer:\\n{question}", "The editor's notes:\\n{editor}", "Write the draft."]
roles.editor.system = "You edit drafts."
roles.editor.sections = ["Answer:\\n{question}", "{answer}", "The draft:\\n{writer}", "Write the final answer."]
""",
    "team.toml": """pattern = "review.toml"
prompts = "review_prompts.toml"
rounds = 2
max_new_tokens = 8
start = "identity"  # real models: leave this out, and get the closed-form start
roles.writer.backbone = "tiny:llama"
roles.editor.backbone = "tiny:qwen2"
""",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            (Path(folder) / name).write_text(text)
        system = load_system(str(Path(folder) / "team.toml"))
    answer = RecursiveSolver(system).solve([Question(text="What is a sonnet?")])[0]
    print(" -> ".join(f"{turn.role} ({turn.verb}s)" for turn in answer.trace.turns))


if __name__ == "__main__":
    main()
