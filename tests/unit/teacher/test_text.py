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
from edgedistill.teacher.text import build_text_bank, class_names

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


@pytest.fixture
def embeddings() -> Tensor:
    return encode(["one", "two", "three", "four"])


def test_rows_templates_and_owners() -> None:
    found = bank("mean")
    assert np.allclose(found.names.numpy(), np.concatenate(expected_rows()), atol=1e-6)
    assert found.owner.tolist() == [0, 0, 0, 1, 2, 2]
    assert torch.allclose(found.names.norm(dim=1), torch.ones(6), atol=1e-6)


def test_mean_on_the_sphere(embeddings: Tensor) -> None:
    pooled = unit(np.stack([rows.mean(0) for rows in expected_rows()]))
    found = bank("mean")
    assert np.allclose(found.pooled.numpy(), pooled, atol=1e-6)
    assert np.allclose(found.cosines(embeddings).numpy(), embeddings.numpy() @ pooled.T, atol=1e-6)


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
