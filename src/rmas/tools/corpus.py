"""Search without a network: BM25 (Robertson and Zaragoza 2009; Lucene's variant, through bm25s) over a folder of texts.

The index is made on first use and kept, under a name that is a digest of the texts and of how they are read: a corpus
that changed has another index, and one that did not is never indexed twice. A finished index gets its name in one step.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from rmas.errors import ToolError
from rmas.tools.passages import SIZE, Passage, passages_of, texts_in
from rmas.tools.search import Hit

_PASSAGES = "passages.json"
_READING = f"1 {SIZE}"  # of texts and of words: another number, other indexes
# A letter of a script without spaces is a word of its own: Han, kana, Thai.
_WORD = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+"
)


@final
class Corpus:
    """Searches the texts of a folder. `digest`: of them, and of how they are read."""

    about = "a collection of texts"

    def __init__(self, folder: Path, *, cache: Path) -> None:
        """Index the folder, or find its index in `cache`. Raises ToolError: no texts, a broken one, no room."""
        try:
            import bm25s
        except ImportError:
            raise ToolError("a local corpus needs bm25s: pip install 'rmas[tools]'.") from None
        texts = texts_in(folder)
        self.digest = _digest(texts, str(bm25s.__version__))
        place = cache / "corpora" / self.digest
        found = _load(place)
        if found is None:
            passages = [passage for name, content in texts.items() for passage in passages_of(name, content)]
            if not passages:
                raise ToolError(f"corpus {folder}: its files are empty. Name a folder with texts.")
            _keep(place, passages)
            found = _load(place)
            assert found is not None, "it was just written"
        self._index, self._passages = found

    def find(self, query: str, count: int) -> Sequence[Hit]:
        """Passages that share a word with the query; among equals the first in the corpus is first."""
        import numpy as np

        known = [word for word in words_in(query) if word in self._index.vocab_dict]
        if not known:
            return []
        scores = np.asarray(self._index.get_scores(known))
        best = np.argsort(-scores, kind="stable")[:count]
        return [Hit(*self._passages[int(i)]) for i in best if scores[i] > 0]


def words_in(text: str) -> list[str]:
    """What BM25 counts: runs of letters and digits, whatever their case."""
    return _WORD.findall(text.casefold())


def _digest(texts: Mapping[str, bytes], version: str) -> str:
    total = hashlib.sha256(f"{_READING} {version}\n".encode())
    for name, content in texts.items():
        total.update(f"{name} {len(content)}\n".encode(errors="surrogateescape"))
        total.update(content)
    return total.hexdigest()[:32]


def _load(place: Path) -> tuple[Any, list[Passage]] | None:
    """The index and the passages in a folder; None where there are none, or broken ones."""
    import bm25s

    try:
        passages = [Passage(*row) for row in json.loads((place / _PASSAGES).read_text(encoding="utf-8"))]
        return bm25s.BM25.load(str(place), load_vocab=True), passages
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(place: Path, passages: Sequence[Passage]) -> None:
    """Write an index beside its place, then give it that name. Who comes second leaves what is there."""
    import bm25s

    index = bm25s.BM25()
    index.index([words_in(f"{passage.title}\n{passage.text}") for passage in passages], show_progress=False)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{place.name}.partial-", dir=place.parent))
        try:
            index.save(str(unfinished), show_progress=False)
            (unfinished / _PASSAGES).write_text(json.dumps(passages), encoding="utf-8")
            if place.exists() and _load(place) is None:
                shutil.rmtree(place)
            if not place.exists():
                unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as problem:
        raise ToolError(f"corpus: its index cannot be kept in {place.parent} ({problem}). Free some room.") from None
