"""What the tests share: a real engine, a demo model, a browser, a PostgreSQL. What is absent skips, with the reason.

With pytest-xdist each file is run by one worker, and by one all that starts a real vLLM, but for what is long: its threads
want a core, and a server is shared (`vllm_url`).
"""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from own_postgres import Postgres, postgres, programs
from serving import vllm

from tuner import interrupts
from tuner.launch.demo_model import make_demo_model

REPOSITORY = Path(__file__).parents[1]

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit it
    #: Compiled code of the tests' servers, and who has warmed it, is this session's own.
    _CACHE = tempfile.TemporaryDirectory(prefix="tuner-cache-")
    os.environ["TUNER_CACHE_DIR"] = _CACHE.name
#: Where the workers say which tests one of them is to run.
_ENGINE = Path(os.environ["TUNER_CACHE_DIR"]) / "engine.txt"
os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
os.environ.pop("COLUMNS", None)  # pytest-xdist's workers have one, and tables would be folded

# In the background of a shell it is ignored, and what tests start could not be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow example is a busy machine.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def _loopback_only(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(address := arguments[1], tuple) and address[0] not in _LOOPBACK:
        raise RuntimeError(f"a test tried to reach {address[0]}: only loopback is allowed")


_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
sys.addaudithook(_loopback_only)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--first-parameters", action="store_true", help="of a test with parameters, run it with the first")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker: what starts a vLLM comes first, for it takes longest."""
    if config.getoption("--first-parameters"):
        first = {item.nodeid.partition("[")[0]: item for item in reversed(items)}
        kept = set(first.values())
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not _is_quick_engine(item))
        engine = [item for item in items if _is_quick_engine(item)]
        mine = _ENGINE.with_suffix(f".{os.getpid()}")
        mine.write_text("\n".join(item.nodeid for item in engine))
        mine.rename(_ENGINE)


def _is_quick_engine(item: pytest.Item) -> bool:
    return bool(item.get_closest_marker("engine") and not item.get_closest_marker("long"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In the one that hands out the tests."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    @functools.cache  # asked for when all tests were collected
    def engine() -> set[str]:
        return set(_ENGINE.read_text().splitlines())

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda nodeid: "engine" if nodeid in engine() else nodeid.split("::")[0]
    return scheduler


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Who is interrupted is this test, not the next that this process runs: a command's handlers end with the command."""
    kept = {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    interrupts.heed_signals()  # forgets what was heard
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def engine_python() -> Path:
    """The interpreter of a real vLLM: TUNER_VLLM_PYTHON, or the one that `make test` installs."""
    python = Path(os.environ.get("TUNER_VLLM_PYTHON") or REPOSITORY / ".engine" / "bin" / "python").absolute()
    if not python.exists():
        pytest.skip(f"no engine: {python} does not exist (`make test` installs it, or set TUNER_VLLM_PYTHON)")
    return python


@pytest.fixture
def mps_control(monkeypatch: pytest.MonkeyPatch) -> Path:
    """NVIDIA's daemon, on the PATH: the host's, or the one that `make packages` brings."""
    brought = REPOSITORY / ".mps" / "usr" / "bin"
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{brought}")
    for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    if (found := shutil.which("nvidia-cuda-mps-control")) is None:
        pytest.skip(
            "no nvidia-cuda-mps-control: it comes with NVIDIA's driver, or by `make packages` on Debian (x86-64)"
        )
    return Path(found)


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_model(tmp_path_factory.mktemp("demo") / "model")


@pytest.fixture(scope="session")
def vllm_url(engine_python: Path, demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real vLLM with the demo model, for all tests that only ask it something."""
    with vllm(engine_python, demo_model, tmp_path_factory.mktemp("vllm")) as url:
        yield url


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium: install it (apt-get install chromium)")
    return found


@pytest.fixture
def text_of(chromium: str, tmp_path: Path) -> Callable[[str], str]:
    """Reads a page as a person does: its text after a real browser has run it."""

    def read(url: str) -> str:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        flags += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=25000", "--window-size=1600,1400"]
        done = subprocess.run(
            [chromium, *flags, "--dump-dom", url], capture_output=True, text=True, timeout=180, check=True
        )
        page = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", done.stdout, flags=re.DOTALL)
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))

    return read


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A private PostgreSQL, which a test may restart."""
    if (found := programs()) is None:
        pytest.skip("no PostgreSQL server: install it (apt-get install postgresql)")
    with postgres(found) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> str:
    """A fresh, empty PostgreSQL database."""
    return postgres_server.database()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, on each kind of server."""
    return f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """Run the test as a user whom file permissions bind (root ignores them); yields a folder of that user."""
    with tempfile.TemporaryDirectory(prefix="tuner-user-") as folder:
        path, is_root = Path(folder), os.geteuid() == 0
        if is_root:
            os.chown(path, 65534, 65534)
            os.seteuid(65534)
        try:
            yield path
        finally:
            if is_root:
                os.seteuid(0)
            path.chmod(0o755)
