"""`edgedistill pretrain`."""

import json
from pathlib import Path
from typing import Annotated

import typer

import edgedistill as ed
from edgedistill.cli.options import Overrides, Quiet
from edgedistill.errors import UsageError


def pretrain(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGES...", help="Folders of images, or a recipe (TOML), or both."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The weights file [default: RECIPE.safetensors, or start-STUDENT.safetensors].",
        ),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="As teacher.model of a recipe; also timm/NAME.")
    ] = None,
    pretrained: Annotated[str | None, typer.Option(help="Its weights, as a tag or file.")] = None,
    student: Annotated[str | None, typer.Option(help="As student.model of a recipe.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="The student's start: none, imagenet, a file, ...")
    ] = None,
    labelled: Annotated[
        str | None, typer.Option(help="Labelled images to measure zero-shot accuracy on.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.")] = None,
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed.")] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps [default: the recipe's].")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Distil a teacher into start weights, without labels.

    Started again, it goes on where it stopped; its working folder lies beside the weights.
    """
    recipes = [path for path in images if path.suffix == ".toml" and not path.is_dir()]
    if len(recipes) > 1:
        raise UsageError(f"{recipes[1]}: a second recipe; give one")
    folders = [path for path in images if path not in recipes]
    options = {
        "teacher.pretrained": pretrained,
        "student.weights": weights,
        "data.labelled": labelled,
        "train.steps": steps,
        "seed": seed,
        "device": device,
    }
    sets = [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in options.items()
        if value is not None
    ]
    finished = ed.pretrain(
        folders,
        output,
        teacher=teacher,
        student=student,
        recipe=recipes[0] if recipes else None,
        overrides=[*sets, *(overrides or [])],
        callbacks=[ed.ConsoleCallback(quiet)],
    )
    if finished.rank:
        return
    _print_summary(finished)


def _print_summary(finished: "ed.Pretrained") -> None:
    import shlex

    from edgedistill.cli.tables import duration, percent, print_lines

    if finished.before == "finished":
        print_lines(f"{finished.path}: already finished; see {finished.report}")
        return
    figures, lines, weights = finished.figures, [], shlex.quote(str(finished.path))
    if figures["zero_shot"] is not None:
        shown = figures["zero_shot"]
        line = f"zero-shot   {percent(shown['accuracy'])} % right on {shown['data']}"
        lines.append(f"{line}, the teacher {percent(shown['teacher']['accuracy'])} %")
    print_lines(
        f"cosine      {figures['cosine']:.4f} to {figures['teacher']['name']} on "
        f"{figures['images']['held_out']} held-out images, step {figures['selected_step']}",
        *lines,
        f"time        {duration(figures['seconds'])}",
        f"report      {finished.report}",
        f"weights     {finished.path}",
        f"next        edgedistill run RECIPE --set student.model={figures['student']} "
        f"--set student.size={figures['size']} --set student.weights={weights}",
    )
