"""Effect of each quirk of the methods' authors, measured: the tables of FIDELITY.md.

Runs what is not finished yet of two sweeps, writes every number to fidelity.json and renders the
tables between `<!-- fidelity -->` marks.

    python -m benchmarks.emoji.fidelity --jobs 2
    python -m benchmarks.emoji.fidelity --finished   # only collect what is finished
    python -m benchmarks.emoji.fidelity --render     # only the tables, from the JSON
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from benchmarks.emoji.results import to_text
from benchmarks.emoji.swept import (
    ROOT,
    SWEEPS,
    default_out,
    difference_table,
    train,
    variant_rows,
    wrapped,
)
from benchmarks.marked import write_between
from benchmarks.script import read_record, run_script, whole
from edgedistill._utils.atomic import write_json, write_text
from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.errors import EdgeDistillError
from edgedistill.students.weights import EMBEDDED_FOLDER

MARK = "<!-- fidelity -->"
# The sweeps name it so.
OFF_TEACHER = ROOT / "runs" / "emoji-clip-off"
RECORD = Path(__file__).with_name("fidelity.json")
METHODS = {"SCI-PD": "fidelity_scipd", "SCMD": "fidelity_scmd"}
EMPTY = (
    "Not measured yet: `python -m benchmarks.emoji.fidelity --jobs 2` runs both sweeps and writes "
    "the tables here."
)


def off_statistics() -> tuple[list[float], list[float]]:
    """Mean and deviation that are to ImageNet's what ImageNet's are to CLIP's.

    Normalised so, a teacher that expects ImageNet's statistics sees its pixels through the map
    that CLIP sees its own through in the authors' code.
    """
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    # gain * x + shift are ImageNet's values of a pixel that CLIP's statistics make x.
    gain = np.array(OPENAI_DATASET_STD) / std
    shift = (np.array(OPENAI_DATASET_MEAN) - mean) / std
    off_std = std / gain
    return (mean - shift * off_std).tolist(), off_std.tolist()


def make_off_teacher(folder: Path) -> None:
    """A copy of the embedded teacher that normalises its pixels by `off_statistics`."""
    shutil.copytree(EMBEDDED_FOLDER / "emoji-clip", folder, dirs_exist_ok=True)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    expected = config["preprocess_cfg"]
    if (tuple(expected["mean"]), tuple(expected["std"])) != (IMAGENET_MEAN, IMAGENET_STD):
        raise EdgeDistillError("emoji-clip: its pixels are not normalised by ImageNet's statistics")
    expected["mean"], expected["std"] = off_statistics()
    write_json(path, config)


def document(rows: Sequence[Mapping[str, Any]]) -> str:
    """The tables of what is recorded."""
    parts = []
    for method, sweep in METHODS.items():
        here = [r for r in rows if r["sweep"] == sweep]
        if here:
            parts.append(difference_table(here, "corrected", method))
    if not parts:
        return wrapped(EMPTY)
    targets = " and ".join(f"`{t}`" for t in dict.fromkeys(r["target"] for r in rows))
    text = (
        f"Target {targets}, {len(rows)} runs. *corrected*: per cent. The others: difference to it "
        "in points, between runs of the same seed, mean ± standard deviation over seeds."
    )
    parts.append(wrapped(text))
    return "\n\n".join(parts)


def collect(out: Path) -> list[dict[str, Any]]:
    """Rows of the runs that are finished, of either sweep."""
    rows = []
    for sweep in METHODS.values():
        if (out / sweep / "runs").is_dir():
            rows += variant_rows(SWEEPS / f"{sweep}.toml", out)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=whole(1, 1024), default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, help="folder of the sweeps; default: below runs/")
    parser.add_argument("--finished", action="store_true", help="collect finished runs only")
    parser.add_argument("--render", action="store_true", help="only write the tables again")
    options = parser.parse_args()
    out = options.out or default_out()
    if not options.render:
        make_off_teacher(OFF_TEACHER)
        for sweep in () if options.finished else METHODS.values():
            train(SWEEPS / f"{sweep}.toml", options.jobs, out)
        write_text(RECORD, to_text(collect(out)))
    rows = read_record(RECORD, "python -m benchmarks.emoji.fidelity")
    write_between(ROOT / "benchmarks" / "emoji" / "FIDELITY.md", MARK, document(rows))


if __name__ == "__main__":
    run_script(main)
