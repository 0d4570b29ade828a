"""Where search spaces are: a name, a path or a card in, a validated SearchSpace out.

The shipped ones lie next to the code when installed, and in search_spaces/ of a checkout.
"""

from pathlib import Path

from tuner.errors import UsageError, did_you_mean
from tuner.space.search_space import SearchSpace
from tuner.space.yaml_file import read_yaml

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_spaces(package: Path = _PACKAGE) -> dict[str, Path]:
    """The files that come with tuner, by name ("t4"), sorted. `package` is the folder of the tuner package."""
    installed = package / "search_spaces"
    folder = installed if installed.is_dir() else package.parent / "search_spaces"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def space_for(gpu: str) -> SearchSpace:
    """The shipped space of the card that NVML calls `gpu`. Raises UsageError when there is none."""
    spaces = [load_space(name) for name in shipped_spaces()]
    for space in spaces:
        if space.gpu.is_called(gpu):
            return space
    known = ", ".join(name for space in spaces for name in space.gpu.names)
    raise UsageError(f"there is no search space for {gpu}, only for {known}; give a YAML file with --space")


def load_space(name_or_path: str | Path) -> SearchSpace:
    """The shipped space of that name, or the user's file. Raises UsageError for neither, or "file:line: sentence"."""
    shipped = shipped_spaces()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if path.suffix not in {".yaml", ".yml"} and not path.exists():
        raise UsageError(
            f"there is no search space {str(name_or_path)!r}{did_you_mean(str(name_or_path), shipped)}:"
            f" the known GPUs are {', '.join(shipped)};"
            " for another one give a YAML file with --space"
        )
    space = read_yaml(path, SearchSpace)
    return space if space.name else space.model_copy(update={"name": path.stem})
