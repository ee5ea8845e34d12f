"""Text files that a person writes, by the encodings that editors save them in."""

import json
from pathlib import Path

import pytest
from culprits import assert_names, raises
from PIL import Image

from edgedistill._utils.text_files import EncodingError, decode_text
from edgedistill.data.datasets import load_dataset
from edgedistill.errors import DataError, RecipeError
from edgedistill.recipe import load_recipe
from edgedistill.sweep.spec import read_sweep

RECIPE = '[data]\ndataset = "emoji"\ntarget = "glow"\n[method]\nname = "erm"\n'
SWEEP = 'recipe = "a.toml"\n'


def test_a_byte_order_mark_and_newlines_of_windows_are_not_content() -> None:
    assert decode_text(b"\xef\xbb\xbfa\r\nb\rc\n") == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("content", "culprits"),
    [
        ("x = 1".encode("utf-16"), ("UTF-16",)),
        ("x = 1".encode("utf-16-le"), ("UTF-16",)),
        (b"\xfe\xff" + "x = 1".encode("utf-16-be"), ("UTF-16",)),
        ("x = 1".encode("utf-32"), ("UTF-32",)),
        ("# a\n# café".encode("latin-1"), ("0xe9", "line 2")),
        (b"\xef\xbb\xbf\n\xff", ("0xff", "line 2")),
    ],
)
def test_other_encodings_are_named(content: bytes, culprits: tuple[str, ...]) -> None:
    with pytest.raises(EncodingError) as error:
        decode_text(content)
    assert_names(str(error.value), *culprits)


def test_recipes_with_a_mark_are_read_and_others_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(RECIPE, encoding="utf-8")
    plain = load_recipe(path)
    path.write_text(RECIPE, encoding="utf-8-sig")
    assert load_recipe(path) == plain
    path.write_text(RECIPE, encoding="utf-16")
    with raises(RecipeError, path, "UTF-16"):
        load_recipe(path)


def test_sweep_files_likewise(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP, encoding="utf-8")
    plain = read_sweep(path)
    path.write_text(SWEEP, encoding="utf-8-sig")
    assert read_sweep(path) == plain
    path.write_text(SWEEP, encoding="utf-16")
    with raises(RecipeError, path, "UTF-16"):
        read_sweep(path)


def test_descriptions_of_datasets_likewise(tmp_path: Path) -> None:
    (tmp_path / "photo" / "cat").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "photo" / "cat" / "1.png")
    path = tmp_path / "edgedistill.json"
    path.write_text(json.dumps({"names": {"cat": ["kitten"]}}), encoding="utf-8-sig")
    assert load_dataset(tmp_path).names == {"cat": ("kitten",)}
    path.write_text("{}", encoding="utf-16")
    with raises(DataError, path, "UTF-16"):
        load_dataset(tmp_path)
