"""`edgedistill teacher`: zero-shot answers of the teacher."""

import typer

import edgedistill as ed
from edgedistill.cli.options import AsJson, Overrides, RecipePath
from edgedistill.cli.tables import metric_cells, print_json, print_table

app = typer.Typer(help="Look at a teacher.", no_args_is_help=True)


@app.command("eval")
def evaluate(recipe: RecipePath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Measure the recipe's teacher, zero-shot, on each domain.

    Accuracy and, where there are unknown classes, how well its scores tell them apart.
    """
    resolved = ed.load_recipe(recipe, overrides or ())
    rows = ed.evaluate_teacher(resolved, callbacks=[ed.ConsoleCallback()])
    if as_json:
        print_json(rows)
        return
    names = ("accuracy", "auroc", "fpr95")
    cells = [
        [
            f"{row['domain']}{' (target)' if row['target'] else ''}",
            *metric_cells(row, names),
            str(row["images_known"]),
            str(row["images_unknown"]),
        ]
        for row in rows
    ]
    header = ["domain", "accuracy", "AUROC", "FPR95", "known", "unknown"]
    print_table(f"Teacher {resolved.teacher.model}, zero-shot, %", header, cells)
