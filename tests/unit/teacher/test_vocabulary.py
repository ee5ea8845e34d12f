"""Words of other things than the known classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from culprits import raises
from torch import Tensor

from edgedistill.errors import RecipeError
from edgedistill.methods.text_bank import TextBank
from edgedistill.recipe.schema import PromptsSection
from edgedistill.teacher.vocabulary import (
    Vocabulary,
    build_vocabulary,
    common_nouns,
    read_words,
    with_vocabulary,
)

# Words on a half circle, in their order; the known class lies at its start.
WORDS = [f"word {number}" for number in range(20)]


def encode(texts: list[str]) -> Tensor:
    angles = torch.tensor([float(text.split()[-1]) for text in texts]) * torch.pi / 20
    return torch.stack([angles.cos(), angles.sin()], dim=1)


TEACHER: Any = SimpleNamespace(encode_texts=encode)


def bank() -> TextBank:
    text = torch.tensor([[1.0, 0.0]])
    return TextBank(text, torch.zeros(1, dtype=torch.int64), text, "mean", 10.0)


@pytest.fixture
def prompts(tmp_path: Path) -> PromptsSection:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(reversed(WORDS)))
    return PromptsSection(templates=["a {}"], vocabulary=str(path))


def built(prompts: PromptsSection, *names: str) -> Vocabulary:
    return build_vocabulary(prompts, names, bank(), TEACHER)


def test_the_tenth_nearest_to_a_class_is_left_out(prompts: PromptsSection) -> None:
    vocabulary = built(prompts, "class")
    assert vocabulary.near == ("word 0", "word 1")
    assert vocabulary.words == tuple(reversed(WORDS[2:]))
    torch.testing.assert_close(vocabulary.embeddings, encode(list(vocabulary.words)))


def test_names_of_classes_are_left_out_however_they_are_written(prompts: PromptsSection) -> None:
    vocabulary = built(prompts, "Word_19", "WORD-18")
    assert vocabulary.names == ("word 19", "word 18")
    assert vocabulary.near == ("word 0",)
    assert len(vocabulary.words) == 17


def test_the_line_names_what_is_left_out(prompts: PromptsSection) -> None:
    line = built(prompts, "word 19").summary()
    for culprit in ("18 words", "words.txt", "'word 19'", "'word 0'"):
        assert culprit in line


def test_templates_are_averaged_on_the_sphere(prompts: PromptsSection) -> None:
    turned = torch.tensor([[0.0, -1.0], [1.0, 0.0]])

    def two(texts: list[str]) -> Tensor:
        rows = encode(texts)
        return torch.where(torch.tensor([t[0] == "b" for t in texts])[:, None], rows @ turned, rows)

    prompts = prompts.model_copy(update={"templates": ["a {}", "b {}"]})
    teacher: Any = SimpleNamespace(encode_texts=two)
    vocabulary = build_vocabulary(prompts, ["class"], bank(), teacher)
    rows = encode(list(vocabulary.words))
    torch.testing.assert_close(vocabulary.embeddings, F.normalize(rows + rows @ turned, dim=1))


def test_texts_get_their_vocabulary(prompts: PromptsSection) -> None:
    text = with_vocabulary(bank(), prompts, ["word_19"], {}, TEACHER)
    assert text.vocabulary is not None and text.vocabulary.shape == (18, 2)
    assert torch.equal(text.names, bank().names)


def test_words_that_are_all_classes_are_refused(prompts: PromptsSection) -> None:
    with raises(RecipeError, "prompts.vocabulary", "words.txt"):
        built(prompts, *WORDS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_file_of_words_may_have_notes_and_any_common_encoding(
    encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("# fruit\r\nCrème brûlée\r\n\r\napple # a note\r\napple\r\n".encode(encoding))
    assert read_words(path, "loss.words") == ["Crème brûlée", "apple"]


@pytest.mark.parametrize("content", ["", "# a note\n", "one\none\n", None])
def test_a_file_without_words_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_text(content)
    with raises(RecipeError, "loss.words", str(path)):
        read_words(path, "loss.words")


def test_the_common_nouns_are_words_of_things() -> None:
    nouns = common_nouns()
    assert 2000 < len(nouns) < 4000
    assert {"dog", "chair", "apple", "pizza", "banana", "apple tree"} <= set(nouns)
    assert not {"freedom", "london", "running"} & set(nouns)
    assert nouns == sorted(set(nouns))
