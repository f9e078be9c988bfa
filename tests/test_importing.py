"""The authors' prompts as a pack: what a clone's builders give is what the pack renders; nothing unsafe gets far."""

import sys
import types
from pathlib import Path

import pytest

from cli_runner import refusal, rmas
from rmas.errors import ConfigError, PromptError
from rmas.importing import import_prompts
from rmas.importing.builders import FAMILIES, Builder, keywords
from rmas.importing.clone import read_clone
from rmas.importing.derive import sections_of, spelled
from rmas.packs import load_pack, with_later_kinds
from rmas.pattern import load_pattern
from rmas.prompt import Question
from rmas.systemfile import load_spec
from rmas.tools import Sandbox, find_sandbox
from their_prompts import NOTES, PROMPTS

ASKED = (
    Question(text="What is 6 times 7?", kind="math"),
    Question(text="  Find {x} in \\frac{1}{x} = {{2}}.  \n", kind="math"),
    Question(text="Which?\nA. one\nB. two\nC. three\nD. four", kind="choice"),
    Question(text="Read two numbers, print {their} sum.", kind="code"),
    Question(text="Add two numbers.", kind="code", function="add"),
)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return find_sandbox()


def a_clone(folder: Path, prompts: str = PROMPTS, *, under: str = "") -> Path:
    (folder / under / "inference_utils").mkdir(parents=True)
    (folder / under / "prompts.py").write_text(prompts, encoding="utf-8")
    (folder / under / "inference_utils/reflector_tool_notes.py").write_text(NOTES, encoding="utf-8")
    (folder / under / "inference_utils/__init__.py").write_text("import torch\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def theirs() -> types.ModuleType:
    """The synthetic module, run here: it is our own."""
    module, notes = types.ModuleType("prompts"), types.ModuleType("reflector_tool_notes")
    exec(NOTES, notes.__dict__)
    names = {"_notes": notes.__dict__["system_prompt"]}
    exec(PROMPTS.replace("from inference_utils.reflector_tool_notes import system_prompt as _notes", ""), names)
    module.__dict__.update(names)
    return module


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Path:
    folder = tmp_path_factory.mktemp("import")
    made = import_prompts(a_clone(folder / "clone"), folder / "pack", sandbox=sandbox)
    assert made.patterns == ("sequential", "mixture", "distillation", "deliberation")
    assert made.missing == ()
    return folder / "pack"


def given(theirs: types.ModuleType, builder: Builder, question: Question) -> str:
    told = dict(keywords(builder, question.kind, question.function))
    if "args" in told:
        told["args"] = types.SimpleNamespace(solver_pre_question=0, choice_old_prompt=0)
    return str(getattr(theirs, builder.name)(question.text, **told))


@pytest.mark.parametrize("pattern", FAMILIES)
def test_a_pack_renders_what_the_builders_give(pack: Path, theirs: types.ModuleType, pattern: str) -> None:
    loaded = load_pack(str(pack), pattern)
    for builder in FAMILIES[pattern].builders:
        for question in ASKED:
            if question.kind in builder.kinds:
                assert spelled(loaded, builder, question) == given(theirs, builder, question), builder.name
    assert {text.system for text in loaded.roles.values()} == {getattr(theirs, FAMILIES[pattern].system)}


@pytest.mark.parametrize("pattern", FAMILIES)
def test_a_pack_fits_its_pattern_and_has_a_place_for_private_context(pack: Path, pattern: str, tmp_path: Path) -> None:
    roles = "".join(f'{role} = {{ backbone = "tiny:llama" }}\n' for role in load_pattern(pattern).roles)
    (tmp_path / "mine.toml").write_text(
        f'pattern = "{pattern}"\nprompts = "{pack}"\n[roles]\n{roles}', encoding="utf-8"
    )
    spec = load_spec(str(tmp_path / "mine.toml"))
    for text in spec.pack.roles.values():
        assert any("context" in section.names for section in text.sections)
    assert spec.pack.whole
    assert not spec.pack.note  # which would say that the wording is not the authors'


def test_the_kind_of_task_words_a_choice_and_not_how_the_question_looks(pack: Path, theirs: types.ModuleType) -> None:
    solver = next(b for b in FAMILIES["sequential"].builders if b.name == "build_math_solver_prompt_with_slots")
    lettered = Question(text=ASKED[2].text, kind="math")
    text = spelled(load_pack(str(pack), "sequential"), solver, lettered)
    assert ("the result" in text, "the letter" in given(theirs, solver, lettered)) == (True, True)
    expert = FAMILIES["distillation"].builders[0]
    told = Question(text=f"{ASKED[2].text}\nChoose one of the options.", kind="choice")
    text = spelled(load_pack(str(pack), "distillation"), expert, told)
    assert (text.count("Choose one of"), given(theirs, expert, told).count("Choose one of")) == (2, 1)


def test_the_authors_own_words_tell_of_their_tools(pack: Path) -> None:
    load_pack(str(pack), "deliberation").check_tools("toolcaller", ("python", "search"))
    with pytest.raises(PromptError, match="solver has tools, and no section"):
        load_pack(str(pack), "sequential").check_tools("solver", ("python",))


def test_the_published_slip_can_be_had_of_an_imported_pack(pack: Path, theirs: types.ModuleType) -> None:
    slipped = with_later_kinds(load_pack(str(pack), "sequential"), load_pattern("sequential"), {"code": "math"})
    first, later = FAMILIES["sequential"].builders[2], FAMILIES["sequential"].builders[1]
    for question in ASKED[3:]:
        assert spelled(slipped, first, question) == given(theirs, first, question)
        asked = Question(text=question.text, kind="math")
        assert spelled(slipped, later, question) == given(theirs, later, asked)


def test_an_older_wording_for_choices_is_imported_on_request(
    tmp_path: Path, sandbox: Sandbox, theirs: types.ModuleType
) -> None:
    import_prompts(a_clone(tmp_path / "clone"), tmp_path / "pack", sandbox=sandbox, choice_prompt=2)
    solver = next(b for b in FAMILIES["sequential"].builders if b.name == "build_math_solver_prompt_with_slots")
    text = spelled(load_pack(str(tmp_path / "pack"), "sequential"), solver, ASKED[2])
    assert text == f"Solve.\n<<LATENT_REFINED_SLOT>>\n{ASKED[2].text}\nFinal Choice:"


def test_the_command_makes_the_pack_and_says_what_is_in_it(tmp_path: Path) -> None:
    clone = a_clone(tmp_path / "clone", under="inference")
    result = rmas("import-prompts", str(clone), "--out", str(tmp_path / "pack"))
    assert result.exit_code == 0
    assert "sequential, mixture, distillation, deliberation; " in result.stdout
    assert {path.name for path in (tmp_path / "pack").iterdir()} == {
        "tasks.toml",
        "sequential.toml",
        "mixture.toml",
        "distillation.toml",
        "deliberation.toml",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"clone", "pack"}
    assert "is there already. Name a new folder" in refusal(
        "import-prompts", str(clone), "--out", str(tmp_path / "pack")
    )


def test_a_pattern_that_lacks_a_builder_is_left_out_and_the_builder_named(tmp_path: Path) -> None:
    prompts = PROMPTS.replace("def build_hie_summarizer", "def build_other").replace(
        "def build_distill_l", "def build_l"
    )
    result = rmas("import-prompts", str(a_clone(tmp_path / "clone", prompts)), "--out", str(tmp_path / "pack"))
    assert result.exit_code == 0
    assert "sequential, deliberation; " in result.stdout
    assert "build_distill_learner_prompt_with_slot, build_hie_summarizer_prompt_with_slots." in result.stdout


NETWORK = "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)\n"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("import re\n", f"import re\n{NETWORK}", "prompts.py: PermissionError: "),
        ("import re\n", "import re\nwhile True: pass\n", "ended at a limit of the sandbox (time)"),
        ("import re\n", "import re\ndef broken(:\n", "prompts.py: SyntaxError: invalid syntax (line 3)"),
        (
            "import re\n",
            "import re\nimport torch\n",
            "prompts.py: ModuleNotFoundError: No module named 'torch' (line 3)",
        ),
        ("import re\n", "import re, os\nos._exit(3)\n", "it left with 3 and no answer"),
        ("import re\n", "import re\nopen('/etc/passwd')\n", "prompts.py: FileNotFoundError"),
        ("import re\n", "import re, sys\nsys.exit('bye')\n", "prompts.py: SystemExit: bye"),
        (
            'return f"Refine.\\nQ:',
            'return 1 / 0 or f"Refine.\\nQ:',
            "build_math_refiner_prompt_with_slot: raises ZeroDivis",
        ),
        (
            "Question:\\n{question}\\n\\nStep 1",
            "Question:\\n\\n\\nStep 1",
            "build_math_planner_prompt: the question stands 0 times",
        ),
        ("Plan, planner.", "Plan {question}", "build_math_planner_prompt: the question stands 2 times"),
        ("said:\\n<<LATENT_FEEDBACK_SLOT>>", "said:", "the marker <<LATENT_FEEDBACK_SLOT>> stands 0 times"),
        ("Plan, planner.", "Plan <<LATENT_PLANNER_SLOT>>.", "gives the marker <<LATENT_PLANNER_SLOT>>, expected none"),
        (
            "Plan, planner.",
            "Plan {len(question)} letters.",
            "build_math_planner_prompt: gives another text for another",
        ),
        ("{_ending(question)}", "{_ending(question)[:-1]}{'.!'[len(question) < 9]}", "gives another text for another"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, problem: str
) -> None:
    from rmas.tools import Limits

    monkeypatch.setattr("rmas.importing.caller._LIMITS", Limits(seconds=5, cpu_seconds=1, output_kib=4096))
    assert old in PROMPTS
    clone = a_clone(tmp_path / "clone", PROMPTS.replace(old, new, 1))
    assert problem in refusal("import-prompts", str(clone), "--out", str(tmp_path / "pack"))
    assert {path.name for path in tmp_path.iterdir()} == {"clone"}


def test_a_folder_that_is_no_clone_is_refused(tmp_path: Path, sandbox: Sandbox) -> None:
    for clone in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match=r"no prompts\.py in there"):
            import_prompts(clone, tmp_path / "pack", sandbox=sandbox)


def test_a_module_without_any_builder_is_refused(tmp_path: Path, sandbox: Sandbox) -> None:
    clone = a_clone(tmp_path / "clone", "x = 1\n")
    with pytest.raises(PromptError, match=r"no pattern is whole; prompts\.py lacks DELIBERATION_SYSTEM_PROMPT, SYSTEM"):
        import_prompts(clone, tmp_path / "pack", sandbox=sandbox)


def test_only_files_that_prompts_imports_are_read(tmp_path: Path) -> None:
    clone = a_clone(tmp_path / "clone")
    (clone / "secrets.py").write_text("KEY = 1\n", encoding="utf-8")
    assert list(read_clone(clone)) == ["prompts.py", "inference_utils/reflector_tool_notes.py"]


def test_a_function_name_may_stand_more_than_once() -> None:
    builder = next(b for b in FAMILIES["sequential"].builders if b.name == "build_code_planner_prompt")
    question = Question(text="THE QUESTION", kind="code", function="fn")
    assert sections_of(builder, "Write fn {now}: THE QUESTION. fn, fn.", question) == [
        "Write {function} {{now}}: {question}",
        "\n{context}",
        ". {function}, {function}.",
    ]


def test_the_program_in_the_sandbox_is_never_imported_by_us() -> None:
    import rmas.importing

    assert rmas.importing
    assert "rmas.importing.inside" not in sys.modules
