"""`rmas import-prompts CLONE --out PACK`: the sentences that released links were trained on, as a prompt pack."""

from pathlib import Path
from typing import Annotated

import typer


def import_prompts(
    clone: Annotated[Path, typer.Argument(metavar="CLONE", help="Your clone of the authors' repository.")],
    out: Annotated[Path, typer.Option(metavar="PACK", help="The folder of the new pack.")],
    choice_prompt: Annotated[
        int, typer.Option(min=0, max=3, help="Their choice_old_prompt: an older wording for choices; 2 as for GPQA.")
    ] = 0,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-run-code-without-sandbox", help="Run their prompts.py with your own rights.")
    ] = False,
) -> None:
    """Make a prompt pack of the authors' own sentences, out of the prompts.py of a clone."""
    from rmas.importing import import_prompts as make_pack
    from rmas.tools import find_sandbox

    made = make_pack(clone, out, sandbox=find_sandbox(allow_unsafe=unsafe), choice_prompt=choice_prompt)
    print(f"{out}: {', '.join(made.patterns)}; {made.num_templates} templates, each checked on other questions.")
    if made.missing:
        print(f"Not there, so the patterns that need them are left out: {', '.join(made.missing)}.")
    print(f'A system takes it by prompts = "{out}" in its file.')
