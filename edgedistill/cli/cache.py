"""`edgedistill cache`: stored images and the teacher's embeddings of views."""

from typing import TYPE_CHECKING, Annotated

import typer

import edgedistill as ed
from edgedistill.cli.options import AsJson, Overrides, RecipePath
from edgedistill.cli.tables import print_json, print_lines, print_table

if TYPE_CHECKING:
    from edgedistill.runs.caches import Cache
    from edgedistill.runs.recipe_caches import CacheCheck

app = typer.Typer(help="Stored images and the teacher's embeddings of views.", no_args_is_help=True)

# Enough of a name to tell caches apart, and what a person types.
_SHORT = 12


@app.command()
def build(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Compute what runs of a recipe share.

    These are the stored images and the teacher's embeddings.
    """
    from edgedistill._utils.cache_dir import size_text

    caches = ed.build_caches(recipe, overrides=overrides or (), callbacks=[ed.ConsoleCallback()])
    print_lines(*(f"{c.kind} {c.folder}: {c.holds}, {size_text(c.bytes)}" for c in caches))


@app.command()
def info(as_json: AsJson = False) -> None:
    """Every cache: what it holds and what it takes on the disk."""
    caches = ed.list_caches()

    from edgedistill._utils.cache_dir import cache_dir, size_text

    total = sum(cache.bytes for cache in caches)
    if as_json:
        print_json({"folder": cache_dir(), "bytes": total, "caches": caches})
        return
    cells = [[c.name[:_SHORT], c.kind, c.holds, size_text(c.bytes)] for c in caches]
    cells.append(["all", "", "", size_text(total)])
    print_table(f"{cache_dir()}", ["cache", "kind", "holds", "on disk"], cells)


@app.command()
def verify(
    recipe: RecipePath,
    overrides: Overrides = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what is damaged, so that it is made again.")
    ] = False,
) -> int:
    """Check every byte of what a recipe uses. Exit status 1 if something is damaged."""
    checks = ed.verify_caches(
        recipe, overrides=overrides or (), repair=repair, checked=_print_check
    )
    return int(any(check.state == "damaged" for check in checks) and not repair)


@app.command()
def clear(
    which: Annotated[
        str | None, typer.Argument(metavar="RECIPE|CACHE", help="A recipe, or a name from info.")
    ] = None,
    overrides: Overrides = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every cache.")] = False,
) -> None:
    """Remove what a recipe uses, one cache, or all. Runs make what they need again."""
    if everything == (which is not None):
        raise typer.BadParameter("give a recipe, the name of a cache, or --all")
    clear_caches = ed.clear_caches

    from edgedistill._utils.cache_dir import size_text

    gone: list[Cache] = []

    def print_removed(cache: "Cache") -> None:
        gone.append(cache)
        name = cache.name[:_SHORT]
        print_lines(f"removed {cache.kind} {name}: {cache.holds}, {size_text(cache.bytes)}")

    try:
        clear_caches(which, overrides=overrides or (), removed=print_removed)
    finally:
        print_lines(f"freed {size_text(sum(cache.bytes for cache in gone))}")


def _print_check(check: "CacheCheck") -> None:
    print_lines(f"damaged: {check.message}" if check.state == "damaged" else check.message)
    if check.repair:
        print_lines(f"  {check.repair}")
