"""The vocabulary that `known_mass` compares known names with: words of other things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill import callbacks
from edgedistill._utils.text_files import EncodingError, read_foreign_text
from edgedistill.errors import RecipeError
from edgedistill.methods.text_bank import TextBank
from edgedistill.recipe.schema import PromptsSection
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.text import class_names

# One in this many words, those nearest to a class, is left out.
NEAREST = 10
# Words that the teacher reads at once.
_BATCH = 128
_SHOWN = 3


@dataclass(frozen=True)
class Vocabulary:
    """Words of other things than the known classes.

    Attributes:
        words: those that are compared with.
        embeddings: of their texts, unit-norm float32 `[V, D]`.
        names: words left out because a known class is called so.
        near: words left out as the nearest to a known class, nearest first.
        source: where the words come from.
    """

    words: tuple[str, ...]
    embeddings: Tensor
    names: tuple[str, ...]
    near: tuple[str, ...]
    source: str

    def summary(self) -> str:
        """A line that says which words are compared with and which are left out."""
        size = self.embeddings.numel() * self.embeddings.element_size()
        line = f"vocabulary: {len(self.words)} words ({self.source}), {size / 1e6:.1f} MB"
        if self.names:
            line += f"; left out {len(self.names)} that are names of classes ({_few(self.names)})"
        if self.near:
            line += f"; left out {len(self.near)} nearest to a class ({_few(self.near)})"
        return line


def read_words(path: Path, key: str) -> list[str]:
    """The words of a file, one on a line, each once; '#' begins a note.

    Raises RecipeError, with the recipe's `key`, for a file that cannot be read or has fewer than
    two words.
    """
    try:
        text, _ = read_foreign_text(path)
    except EncodingError as error:
        raise RecipeError(f"{key}: {path}: {error}") from None
    except OSError as error:
        raise RecipeError(f"{key}: {path}: cannot be read: {error.strerror}") from None
    words = _parse(text)
    if len(words) < 2:
        raise RecipeError(f"{key}: {path}: needs two words or more, one on a line")
    return words


def common_nouns() -> list[str]:
    """Common English nouns of things that have a look, from WordNet.

    benchmarks/weights/nouns.py chooses them.
    """
    return _parse(files("edgedistill.teacher").joinpath("nouns.txt").read_text("ascii"))


def with_vocabulary(
    text: TextBank,
    prompts: PromptsSection,
    known: Sequence[str],
    defaults: Mapping[str, Sequence[str]],
    teacher: Teacher,
) -> TextBank:
    """The texts of the known classes with a vocabulary, which is said in one line.

    Other arguments as in `encode_class_texts`. Raises RecipeError as `build_vocabulary`.
    """
    groups = class_names(known, defaults, prompts.names, prompts.keep_underscores)
    names = [name for group in groups for name in group]
    vocabulary = build_vocabulary(prompts, [*names, *known], text, teacher)
    callbacks.current().on_note(vocabulary.summary())
    return replace(text, vocabulary=vocabulary.embeddings)


def build_vocabulary(
    prompts: PromptsSection, names: Sequence[str], text: TextBank, teacher: Teacher
) -> Vocabulary:
    """The vocabulary of a recipe without what the known classes are called, or nearly.

    Left out are the words that are a name of a known class, and the tenth of the others whose text
    is nearest to one of the classes' texts, as NegLabel keeps the words farthest from the classes
    (Jiang et al. 2024, arXiv 2403.20078).

    Args:
        names: every name of a known class.
        text: texts of the known classes.
        teacher: encodes the words in the recipe's templates; progress goes to
            `callbacks.current()`.

    Raises RecipeError for a file of words that cannot be read or leaves none.
    """
    if prompts.vocabulary is None:
        source, words = "common nouns of WordNet", common_nouns()
    else:
        source = Path(prompts.vocabulary).name
        words = read_words(Path(prompts.vocabulary), "prompts.vocabulary")
    taken = {_plain(name) for name in names}
    same = tuple(word for word in words if _plain(word) in taken)
    others = [word for word in words if _plain(word) not in taken]
    if not others:
        raise RecipeError(
            f"prompts.vocabulary: {source}: every word is a name of a known class; add words of "
            "other things"
        )
    embeddings = _encode(others, prompts.templates, teacher)
    nearness = (embeddings @ text.references.to(embeddings.device).T).amax(dim=1)
    order = nearness.argsort(descending=True, stable=True).tolist()
    near = order[: len(others) // NEAREST]
    rest = sorted(order[len(near) :])
    return Vocabulary(
        tuple(others[row] for row in rest),
        embeddings[rest],
        same,
        tuple(others[row] for row in near),
        source,
    )


def _encode(words: Sequence[str], templates: Sequence[str], teacher: Teacher) -> Tensor:
    """Unit-norm float32 `[V, D]`, on the CPU: of each word, the mean over the templates."""
    parts = []
    with callbacks.current().progress("vocabulary", "words") as report:
        for start in range(0, len(words), _BATCH):
            batch = words[start : start + _BATCH]
            texts = [template.format(word) for word in batch for template in templates]
            encoded = teacher.encode_texts(texts).unflatten(0, (-1, len(templates)))
            parts.append(F.normalize(encoded.mean(dim=1), dim=1).cpu())
            report(start + len(batch), len(words))
    return torch.cat(parts)


def _parse(text: str) -> list[str]:
    words = dict.fromkeys(line.partition("#")[0].strip() for line in text.splitlines())
    words.pop("", None)
    return list(words)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _few(words: Sequence[str]) -> str:
    more = ", ..." if len(words) > _SHOWN else ""
    return ", ".join(repr(word) for word in words[:_SHOWN]) + more
