"""Class texts against plain NumPy."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from culprits import raises
from numpy.typing import NDArray
from torch import Tensor

from edgedistill.errors import RecipeError
from edgedistill.methods.text_bank import TextBank
from edgedistill.recipe.schema import PromptsSection
from edgedistill.teacher.open_clip import Teacher, load_teacher
from edgedistill.teacher.text import build_text_bank, check_class_texts, class_names

NAMES = [["cat", "kitten", "tom"], ["dog"], ["big_bird", "emu"]]
TEMPLATES = ["a photo of a {}", "{}, drawn"]


def encode(texts: list[str]) -> Tensor:
    rows = [np.random.default_rng(zlib.crc32(t.encode())).normal(size=6) for t in texts]
    return torch.nn.functional.normalize(torch.tensor(np.array(rows)).float(), dim=1)


def unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def expected_rows() -> list[NDArray[np.float64]]:
    """For each class, one unit row per name, templates averaged on the sphere."""
    return [
        unit(
            np.stack(
                [encode([t.format(n) for t in TEMPLATES]).double().numpy().mean(0) for n in group]
            )
        )
        for group in NAMES
    ]


def bank(pool: str) -> TextBank:
    return build_text_bank(encode, NAMES, TEMPLATES, pool, 10.0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def embedded_clip() -> Teacher:
    return load_teacher("emoji-clip", "", torch.device("cpu"))


@pytest.fixture
def embeddings() -> Tensor:
    return encode(["one", "two", "three", "four"])


def test_rows_templates_and_owners() -> None:
    texts = bank("mean")
    assert np.allclose(texts.names.numpy(), np.concatenate(expected_rows()), atol=1e-6)
    assert texts.owner.tolist() == [0, 0, 0, 1, 2, 2]
    assert torch.allclose(texts.names.norm(dim=1), torch.ones(6), atol=1e-6)


def test_mean_on_the_sphere(embeddings: Tensor) -> None:
    pooled = unit(np.stack([rows.mean(0) for rows in expected_rows()]))
    texts = bank("mean")
    assert np.allclose(texts.pooled.numpy(), pooled, atol=1e-6)
    assert np.allclose(texts.cosines(embeddings).numpy(), embeddings.numpy() @ pooled.T, atol=1e-6)


def test_best_match_is_the_maximum_over_a_class(embeddings: Tensor) -> None:
    expected = np.stack([(embeddings.numpy() @ rows.T).max(1) for rows in expected_rows()], 1)
    assert np.allclose(bank("best").cosines(embeddings).numpy(), expected, atol=1e-6)


def test_best_match_has_gradients(embeddings: Tensor) -> None:
    x = embeddings.clone().requires_grad_()
    bank("best").cosines(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("pool", ["mean", "best"])
def test_one_name_per_class_makes_the_pools_agree(pool: str, embeddings: Tensor) -> None:
    single = build_text_bank(encode, [["cat"], ["dog"]], ["{}"], pool, 1.0)  # type: ignore[arg-type]
    assert torch.allclose(
        single.cosines(embeddings), embeddings @ encode(["cat", "dog"]).T, atol=1e-6
    )


def test_a_recipe_name_wins_over_the_dataset_which_wins_over_the_folder() -> None:
    names = class_names(
        ["big_cat", "dog", "emu"], {"big_cat": ["lion"], "dog": ["hound"]}, {"dog": ["pup"]}, False
    )
    assert names == [["lion"], ["pup"], ["emu"]]


def test_underscores_stay_only_where_the_folder_names_itself() -> None:
    defaults = {"big_cat": ("big cat",), "red_fox": ("vixen", "red fox")}
    known = ["big_cat", "red_fox"]
    assert class_names(known, defaults, {}, False) == [["big cat"], ["vixen", "red fox"]]
    assert class_names(known, defaults, {}, True) == [["big_cat"], ["vixen", "red_fox"]]
    mine = {"big_cat": ["big cat"]}
    assert class_names(known, defaults, mine, True)[0] == ["big cat"]


def test_a_name_for_no_class_is_an_error() -> None:
    with raises(RecipeError, "prompts.names", "class 'dgo'", "'dog'"):
        class_names(["cat", "dog"], {}, {"dgo": ["x"]}, False)
    # Names of a class that is unknown in this split are simply not used.
    assert class_names(["cat"], {"cat": ["cat"], "dog": ["dog"]}, {"dog": ["x"]}, False)


LONG = "a mark somebody drew on a page by hand, in a single dark colour near the middle, being a"


def warnings_of(teacher: Teacher, names: dict[str, list[str]]) -> tuple[str, ...]:
    prompts = PromptsSection(names=names)
    return check_class_texts(prompts, list(names), {}, teacher)


def test_class_texts_within_the_context_are_not_warned_of(embedded_clip: Teacher) -> None:
    names = {"disc": ["disc", "circle"], "box": ["a" * 10]}
    assert warnings_of(embedded_clip, names) == ()


def test_a_text_is_cut_from_one_token_over_the_context_on(embedded_clip: Teacher) -> None:
    length = embedded_clip.tokenizer(["a"]).shape[1]
    # Beside the words of the template, a text has a token at its beginning and one at its end.
    fitting = " ".join(["a"] * (length - 2 - 4))
    assert warnings_of(embedded_clip, {"disc": [fitting]}) == ()
    (line,) = warnings_of(embedded_clip, {"disc": [fitting + " a"]})
    assert fitting in line


def test_one_warning_for_all_texts_that_are_cut(embedded_clip: Teacher) -> None:
    names = {"disc": ["disc", f"disc of {LONG}"], "box": ["box", f"box of {LONG * 20}"]}
    assert len(warnings_of(embedded_clip, names)) == 1


def test_classes_whose_texts_are_cut_to_the_same_are_refused(embedded_clip: Teacher) -> None:
    with raises(RecipeError, "disc", "box", "prompts.names"):
        warnings_of(embedded_clip, {"disc": [f"{LONG} disc"], "box": [f"{LONG} box"]})


def test_classes_of_the_same_texts_are_refused(embedded_clip: Teacher) -> None:
    with raises(RecipeError, "tap", "faucet", "prompts.names"):
        warnings_of(embedded_clip, {"tap": ["Faucet"], "box": ["box"], "faucet": ["faucet"]})


def test_a_text_that_two_classes_share_is_warned_of(embedded_clip: Teacher) -> None:
    names = {"bird": ["crane", "bird"], "machine": ["crane", "machine"]}
    (line,) = warnings_of(embedded_clip, names)
    assert all(repr(text) in line for text in ("a photo of a crane", "bird", "machine"))


def test_sentences_are_kept_apart() -> None:
    vectors = {
        "a": [1.0, 0.0],
        "b": [0.0, 1.0],
        "b2": [1.0, 0.0],
        "old a": [0.6, 0.8],
        "old b": [0.0, 1.0],
        "old b2": [0.0, 1.0],
    }

    def encode(texts: list[str]) -> torch.Tensor:
        return torch.tensor([vectors[text] for text in texts])

    names = [["a"], ["b", "b2"]]
    assert build_text_bank(encode, names, ["{}"], "mean", 1.0).sentences is None
    bank = build_text_bank(encode, names, ["{}"], "mean", 1.0, ["old {}", "{}"])
    half = 0.5**0.5
    expected = [[[0.6, 0.8], [0.0, 1.0]], [[1.0, 0.0], [half, half]]]
    torch.testing.assert_close(bank.sentences, torch.tensor(expected))
    assert torch.equal(bank.pooled, build_text_bank(encode, names, ["{}"], "mean", 1.0).pooled)
