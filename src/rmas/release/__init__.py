"""The authors' released systems: role repositories and link files in, our bundle out, and the way back.

table.py         the five systems, the names of their links and of the link types, all as data
repository.py    a folder or a hub id -> folders on this disk
layout.py        which file of a repository holds which link, by both forms of the manifests
weights.py       a state dict: read, named as ours and as theirs, its design found out
convert.py       a released system -> a bundle
cached.py        released/NAME -> a bundle in the cache, converted once
export.py        a bundle -> a released system's layout
recommended.py   the settings that the authors recommend by system and task; recommended.toml has them
"""

from rmas.release.cached import system_name
from rmas.release.convert import Recipe, convert
from rmas.release.export import export
from rmas.release.recommended import recommended, write_settings
from rmas.release.table import RELEASED, Released

__all__ = ["RELEASED", "Recipe", "Released", "convert", "export", "recommended", "system_name", "write_settings"]
