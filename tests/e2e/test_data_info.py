"""`edgedistill data info` on images in every layout, without a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of each of three classes, class/image, and a CSV file that names them."""
    root = tmp_path_factory.mktemp("data") / "photos"
    rows = ["path;label;split"]
    for c, name in enumerate(("cat", "dog", "other")):
        (root / name).mkdir(parents=True)
        for number in range(10):
            color = (80 * c, 20 * number, 90)
            Image.new("RGB", (8, 8), color).save(root / name / f"{number}.png")
            rows.append(f"photos/{name}/{number}.png;{name};{'test' if number < 3 else 'train'}")
    (root.parent / "labels.csv").write_text("\n".join(rows))
    return root


def info(cli: Any, *arguments: object) -> dict[str, Any]:
    result = cli("data", "info", *arguments, "--json")
    assert result.status == 0, result.err
    return dict(json.loads(result.out))


def test_folders_of_classes(cli: Any, photos: Path, tmp_path: Path) -> None:
    listed = info(cli, photos)
    assert (listed["layout"], listed["domains"]) == ("class", ["photos"])
    assert listed["test_kind"] is None and listed["contact_sheet"] is None
    assert [row["images"] for row in listed["classes"]] == [[10], [10], [10]]
    result = cli("data", "info", photos, "--set", "data.unknown=[other]", cwd=tmp_path)
    assert result.status == 0
    assert "held-out images of the same domain" in result.out
    assert not list(tmp_path.iterdir())
    listed = info(cli, photos, "--set", "data.unknown=[other]")
    parts = [(row["role"], row["train"], row["val"], row["test"]) for row in listed["classes"]]
    assert parts == [("known", 6, 2, 2), ("known", 6, 2, 2), ("unknown", 0, 0, 10)]


def test_a_csv_file_with_a_split(cli: Any, photos: Path) -> None:
    listed = info(cli, photos.parent / "labels.csv")
    assert (listed["layout"], listed["test_kind"]) == ("csv", "held-out")
    assert [row["test"] for row in listed["classes"]] == [3, 3, 3]


def test_an_unlabelled_target(cli: Any, photos: Path, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").touch()
    listed = info(cli, photos, "--target", tmp_path)
    assert (listed["target"], listed["test_kind"]) == (tmp_path.name, "unlabelled")
    assert listed["unlabelled_images"] == 4
    assert len(listed["problems"]) == 1 and "3.png" in listed["problems"][0]
    cli("data", "info", photos, "--target", photos.parent).assert_refused("data.target", 30)


@pytest.mark.parametrize(
    ("arguments", "culprits"),
    [
        (["--set", "train.lr=1"], ["train", "[data]"]),
        (["--set", "data.layuot=class"], ["data.layuot", "'layout'"]),
        (["--set", "data.layout=flat"], ["data.layout", "'flat'"]),
        (["--set", "data.layout=csv"], ["photos"]),
        (["--target", "nowhere"], ["'nowhere'", "photos"]),
    ],
)
def test_nonsense_is_one_line(
    cli: Any, photos: Path, arguments: list[str], culprits: list[str]
) -> None:
    cli("data", "info", photos, *arguments).assert_refused(*culprits)


def test_images_without_labels_for_training(cli: Any, photos: Path, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8), (9, number, 200)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes((photos / "other" / "0.png").read_bytes())
    (tmp_path / "4.png").touch()
    sets = "--set", f"data.unlabelled=[{tmp_path}]", "--set", "data.unknown=[other]"
    listed = info(cli, photos, *sets)
    assert listed["training_unlabelled"] == {str(tmp_path): 3}
    assert any("3.png" in note for note in listed["notes"])
    assert any("4.png" in note for note in listed["notes"])
    assert f"3 images of {tmp_path}" in cli("data", "info", photos, *sets).out
    cli("data", "info", photos, "--set", "data.unlabelled=[nowhere]").assert_refused(
        "data.unlabelled", "nowhere"
    )
