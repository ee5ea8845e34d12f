"""Finished runs by their names. Reads folders only, so that no command needs torch to find one."""

from pathlib import Path

from edgedistill.errors import RunFolderError


def find_run(name: str | None, runs: Path) -> Path:
    """The folder of a finished run: by its name below `runs` or by its path; None for the newest.

    Raises RunFolderError when there is none, or when the named run is not finished.
    """
    finished = [path.parent for path in runs.glob("*/metrics.json")]
    if name is None:
        if not finished:
            raise RunFolderError(
                f"{runs}: no finished run; train one with 'edgedistill run RECIPE', or say where "
                "runs lie with --runs"
            )
        return max(finished, key=lambda folder: (_written(folder), folder.name))
    for path in (runs / name, Path(name)):
        if (path / "metrics.json").is_file():
            return path
        if (path / "recipe.toml").is_file():
            raise RunFolderError(f"{path}: unfinished; run its recipe again to finish it")
    names = ", ".join(sorted(folder.name for folder in finished))
    raise RunFolderError(
        f"{name}: no such run in {runs}{f'; finished runs: {names}' if names else ''}"
    )


def run_names(runs: Path) -> list[str]:
    """Names of the runs in a folder, finished or not, sorted."""
    return sorted(path.parent.name for path in runs.glob("*/recipe.toml"))


def model_file(name: Path, runs: Path) -> Path:
    """The exported file that a path, a run's name or its folder means; files are themselves.

    Raises RunFolderError for a run that has no exported file.
    """
    if name.is_file():
        return name
    for folder in (name, runs / name):
        if not (folder / "recipe.toml").is_file():
            continue
        exported = folder / "student.onnx"
        if exported.is_file():
            return exported
        raise RunFolderError(
            f"{folder}: has no student.onnx; write it with 'edgedistill export {folder}'"
        )
    return name


def is_unfinished(name: str, runs: Path) -> bool:
    """Whether a name or path, as `find_run` takes it, is that of a run that is not finished."""
    for path in (runs / name, Path(name)):
        if (path / "metrics.json").is_file():
            return False
        if (path / "recipe.toml").is_file():
            return True
    return False


def run_folder_of(source: Path) -> Path | None:
    """The run folder that a path means: the folder itself, or its saved recipe; None for another.

    A recipe.toml of one's own has no other file of a run beside it.
    """
    folder = source if source.is_dir() else source.parent
    if source.name != "recipe.toml" and folder != source:
        return None
    beside = ("environment.json", "metrics.json", ".lock")
    is_run = (folder / "recipe.toml").is_file() and any((folder / f).exists() for f in beside)
    return folder if is_run else None


def _written(folder: Path) -> int:
    return (folder / "metrics.json").stat().st_mtime_ns
