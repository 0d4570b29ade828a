import importlib.util
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
REPOSITORY = Path(__file__).parents[1]
#: Where tuner is installed as a wheel, its scripts and search spaces must come from the wheel, not from a checkout.
_PROGRAM = """
from pathlib import Path
import tuner
from tuner.diagnose.table import the_table
from tuner.record.store import Store
assert the_table().rules
assert "site-packages" in tuner.__file__, tuner.__file__
Store.open("sqlite:///x.db").close()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    here = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        *here,
        "--wheel-dir",
        str(folder),
        str(REPOSITORY),
    ]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("tuner-*.whl")
    return found


def test_the_wheel_holds_the_search_spaces_and_the_migrations(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    spaces = {f"tuner/search_spaces/{file.name}" for file in (REPOSITORY / "search_spaces").glob("*.yaml")}
    migrations = {f"tuner/record/migrations/versions/{f.name}" for f in (REPOSITORY / "alembic/versions").glob("*.py")}
    assert spaces
    assert migrations
    assert spaces | migrations | {"tuner/record/migrations/env.py", "tuner/record/migrations/script.py.mako"} <= names
    assert {f"tuner/serve/page/{file.name}" for file in (REPOSITORY / "tuner" / "serve" / "page").iterdir()} <= names
    assert "tuner/diagnose/diagnosis.md" in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tuner"}  # alembic/ would land on the library


def test_the_installed_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """In an environment that borrows this one's dependencies, but not its tuner."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    dependencies = Path(pytest.__file__).parents[1]
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    for command in (["-c", _PROGRAM], ["-c", "from tuner.cli import run; run()", "spaces"]):
        ran = subprocess.run([python, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
    assert "t4" in ran.stdout
