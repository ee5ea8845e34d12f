"""The picture of the architecture shows the imports there are."""

from pathlib import Path

from docs.scripts.architecture import (
    Architecture,
    describe,
    description,
    draw_architecture,
    read_architecture,
)


def test_committed_picture_shows_the_imports_of_the_code() -> None:
    assert description() == describe(read_architecture()), (
        "run: python docs/scripts/architecture.py"
    )


def test_an_arrow_that_others_imply_is_left_out_and_a_climb_is_not(tmp_path: Path) -> None:
    names = ("cli", "train", "data", "errors")
    architecture = Architecture(
        floors=tuple((name,) for name in names),
        lines=dict.fromkeys(names, 1200),
        summaries=dict.fromkeys(names, "A summary"),
        imports=frozenset(
            [("cli", "train"), ("train", "data"), ("cli", "data"), ("data", "cli")]
            + [(name, "errors") for name in names[:-1]]
        ),
    )
    assert architecture.arrows == {("cli", "train"), ("train", "data")}
    assert architecture.climbs == {("data", "cli")}
    picture = tmp_path / "picture.svg"
    draw_architecture(architecture, picture)
    assert description(picture) == describe(architecture)
    assert "1.2k lines" in picture.read_text(encoding="utf-8")
