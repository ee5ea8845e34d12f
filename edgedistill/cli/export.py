"""`edgedistill export`: a finished run to the file a device runs."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import edgedistill as ed
from edgedistill.cli.options import AsJson, Quiet, Runs
from edgedistill.cli.tables import percent, print_json, print_lines, print_table
from edgedistill.errors import UsageError

if TYPE_CHECKING:
    from edgedistill.export.base import ExportedFile
    from edgedistill.export.build import Exported, Int8

# A file a twentieth faster is not worth another calibration.
_WORTH = 0.95


def export(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Run name or folder [default: the newest finished]."),
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="The format: one ONNX file, the default.")
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="The format by the name of its exporter [default: onnx].")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="In int8 where it pays; refused where it costs answers.")
    ] = False,
    max_drop: Annotated[
        float, typer.Option(help="Points of accuracy, known keep rate, H-score int8 may lose.")
    ] = 1.0,
    size: Annotated[
        int | None, typer.Option(min=32, max=1024, help="Input side, pixels [default: the run's].")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="TOML file of other classes, by name, for students that can take them."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Folder class/* of images of --classes, to set the threshold on."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The folder that the run's images moved to.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file [default: student[-int8].onnx in the run]."),
    ] = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a finished run as the file a device runs. It is checked against torch."""
    if onnx and format not in (None, "onnx"):
        raise UsageError(f"export: --onnx and --format {format} are two formats; give one")
    if int8 and max_drop < 0:
        raise UsageError("--max-drop: give the points int8 may lose, 0 or more")
    if calibrate is not None and classes is None:
        raise UsageError("--calibrate: is for other classes; name them with --classes FILE")
    finished = ed.load_run(run, runs=runs)
    exported = finished.export(
        output,
        format=format or "onnx",
        precision="int8" if int8 else None,
        size=size,
        max_drop=max_drop / 100,
        classes=classes,
        calibrate=calibrate,
        data=data,
        callbacks=[ed.ConsoleCallback(quiet)],
    )
    from edgedistill.export.build import Exported

    if not isinstance(exported, Exported):
        _print_file(exported, as_json)
    elif as_json:
        print_json(_summary(exported))
    else:
        _print(exported)


def _print_file(exported: "ExportedFile", as_json: bool) -> None:
    """Print what is known of a file of any format."""
    if as_json:
        print_json({"file": exported.path, "bytes": exported.bytes})
    else:
        print_lines(f"file        {exported.path}, {exported.bytes / 1e6:.2f} MB")


def _print(exported: "Exported") -> None:
    import onnxruntime
    import torch

    from edgedistill.export.onnx.graph import OPSET
    from edgedistill.export.verify import TOLERANCE

    agreement, calibration = exported.agreement, exported.calibration
    share = f"{agreement.same_label} of {agreement.images}"
    title = f"onnxruntime {onnxruntime.__version__} beside torch {torch.__version__} on "
    title += _images_of(exported)
    if exported.int8 is None:
        rows = [
            ["max |Δprobability|", f"{agreement.probability:.1e}", f"{TOLERANCE:.0e}"],
            ["max |Δscore|", f"{agreement.score:.1e}", f"{TOLERANCE:.0e} of the score"],
            ["same label", share, "all that are clear"],
            ["other label though clear", f"{agreement.clear_but_other} of {agreement.clear}", "0"],
        ]
    else:
        rows = [
            ["max |Δprobability|", f"{agreement.probability:.1e}", "no limit in int8"],
            ["same label", share, "no limit in int8"],
        ]
    rows += [
        ["batches, threshold given and left out", "as the contract says", ""],
        ["onnx checker, full", f"passed, opset {OPSET}", ""],
        ["file size", f"{exported.bytes / 1e6:.2f} MB", ""],
    ]
    print_table(title, ["", "found", "allowed"], rows)
    if exported.int8 is not None:
        _print_int8(exported.int8, calibration.images, _is_given(exported))
    print_lines(
        f"threshold   {calibration.score} >= {calibration.threshold:.4g}, {_origin(exported)}",
        f"input       {exported.size} x {exported.size} RGB, {exported.precision}",
        *_answers(exported),
        *(
            []
            if exported.int8 is None
            else [f"verdict     {int8_verdict(exported.int8.time_ratio)}"]
        ),
        f"file        {exported.path}",
        f"next        edgedistill predict {shlex.quote(str(exported.path))} IMAGE...",
    )


def _is_given(exported: "Exported") -> bool:
    """Whether the images are those given with --calibrate."""
    return exported.metrics.get("calibration") is not None


def _images_of(exported: "Exported") -> str:
    """The images that the file was compared with torch on."""
    compared = exported.agreement.images
    if _is_given(exported):
        return f"{compared} images of --calibrate"
    validation = min(exported.calibration.images, compared)
    training = f" and {compared - validation} training" if compared > validation else ""
    return f"{validation} source-validation{training} images"


def _origin(exported: "Exported") -> str:
    """What the threshold was calibrated on."""
    calibration = exported.calibration
    if calibration.carried_over:
        return "carried over from the trained classes, not calibrated for these"
    rates = exported.metrics.get("calibration") or exported.metrics["source_val"]
    images = "images of --calibrate" if _is_given(exported) else "source-validation images"
    return (
        f"keeps {percent(rates['known_acceptance'])} % of {calibration.images} {images} "
        f"({percent(calibration.target_keep_rate)} % asked for)"
    )


def _answers(exported: "Exported") -> list[str]:
    """What a file of classes that were given after training answers on the images given."""
    rates = exported.metrics.get("calibration")
    if rates is None:
        return []
    line = f"accuracy    {percent(rates['accuracy'])} % of {rates['images_known']} images"
    if rates["images_unknown"]:
        line += (
            f"; of {rates['images_unknown']} images of other classes "
            f"{percent(rates['unknown_rejection'])} % are rejected"
        )
    return [line]


def _print_int8(int8: "Int8", validation: int, given: bool) -> None:
    rows = [
        [rate.name, percent(rate.fp32), percent(rate.int8), f"{100 * rate.drop:.1f}"]
        for rate in int8.drops
    ]
    images = f"{validation} {'images of --calibrate' if given else 'source-validation images'}"
    if int8.unknown:
        images += f" and {int8.unknown} {'' if given else 'source '}images of unknown classes"
    else:
        where = "there is" if given else "the sources have"
        images += f"; no H-score, as {where} no image of an unknown class"
    nodes = f"{int8.nodes} nodes in int8"
    if int8.kept_float:
        nodes += f" ({int8.kept_float} more would be faster and cost too many answers)"
    print_table(f"{nodes}, on {images}, %", ["", "fp32", "int8", "points lost"], rows)


def int8_verdict(time_ratio: float) -> str:
    """A line on the better file for a CPU where int8 takes `time_ratio` of fp32's time."""
    took = f"int8 takes {time_ratio:.2f} of fp32's time here (one image, one thread)"
    if time_ratio > _WORTH:
        return f"fp32 is the better file on such a CPU: {took}"
    return f"int8 is the faster file on such a CPU: {took}"


def _summary(exported: "Exported") -> dict[str, Any]:
    from edgedistill.export.onnx.graph import OPSET

    summary = {
        "file": str(exported.path),
        "bytes": exported.bytes,
        "size": exported.size,
        "precision": exported.precision,
        "opset": OPSET,
        "threshold": exported.calibration,
        "verified": exported.agreement,
    }
    if exported.int8 is None:
        return summary
    return {**summary, "int8": exported.int8, "verdict": int8_verdict(exported.int8.time_ratio)}
