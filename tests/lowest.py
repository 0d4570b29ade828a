"""pyproject.toml in; the lowest version that it allows of each direct dependency out, one `name==version` a line.

    python tests/lowest.py

`make test-lowest` installs these. Standard library only: it is run before anything is installed.
"""

import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
_BOUND = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?>=(?P<version>\d[\w.]*)(,<\d[\w.]*)?")


def lowest(pyproject: str) -> list[str]:
    """Of what tuner needs to be built, to run, and of all extras. Raises ValueError for one without a lower bound."""
    parsed = tomllib.loads(pyproject)
    project = parsed["project"]
    groups = (parsed["build-system"]["requires"], project["dependencies"], *project["optional-dependencies"].values())
    found = set()
    for wanted in chain.from_iterable(groups):
        if (bound := _BOUND.fullmatch(wanted)) is None:
            raise ValueError(f"pyproject.toml: {wanted!r} is not of the form name>=version or name>=version,<version")
        found.add(f"{bound['name']}=={bound['version']}")
    return sorted(found)


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lowest(PYPROJECT.read_text()))
