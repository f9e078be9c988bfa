"""A prompt pack out of the authors' own `prompts.py`, from the user's clone. No torch.

builders.py   which builder words which role, kind of task and round, and what stands in its slots
clone.py      the files of a clone that prompts.py needs
caller.py     their builders called in the sandbox; inside.py is what runs there
derive.py     from what a builder returns to a template, and back
prompts.py    import_prompts: all of it, checked, and written at once
"""

from rmas.importing.prompts import Imported, import_prompts

__all__ = ["Imported", "import_prompts"]
