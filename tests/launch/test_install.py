import sys
from pathlib import Path

import pytest

from tuner.errors import InstallError
from tuner.launch import install

_REQUIREMENTS = ["torch==2.13.0+cpu", "torchvision>=0.1; extra == 'x'", "Foo_Bar[extra]>=1", "baz ; python_version<'3'"]


@pytest.mark.parametrize(
    ("stderr", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("NewConnectionError: [Errno -3] Temporary failure in name resolution", "the package registry does not answer"),
        ("connection error: Network is unreachable", "the package registry does not answer"),
        ("error: command 'gcc' failed: No such file or directory", "install gcc and g\\+\\+"),
        (
            "ERROR: one\nERROR: No matching distribution found for x\n\n",
            "failed: ERROR: No matching distribution found for x",
        ),
        ("", "failed: no output"),
    ],
)
def test_what_pip_says_becomes_one_sentence(stderr: str, sentence: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.stderr.write({stderr!r}); sys.exit(1)"]
    with pytest.raises(InstallError, match=sentence) as caught:
        install._run(command)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_found_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=rf"{tmp_path} has .* GB free and the engine needs 1000000000 GB"):
        install._need_disk(tmp_path / "not" / "yet" / "there", 10**18)
    install._need_disk(tmp_path, 1)


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("torch==2.13.0+cpu", "torch"),
        ("Foo_Bar[extra]>=1", "foo-bar"),
        ("baz ; python_version<'3'", "baz"),
        ("a(>1)", "a"),
    ],
)
def test_the_name_of_a_requirement(requirement: str, name: str) -> None:
    assert install._name(requirement) == name


def test_the_cpu_build_of_torch_that_the_engine_pins() -> None:
    assert install._pinned(_REQUIREMENTS, "torch") == "2.13.0+cpu"
    with pytest.raises(InstallError, match="names no CPU build of torch"):
        install._pinned(["torch==2.13.0"], "torch")


def test_a_folder_of_the_user_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InstallError, match="holds something else than an engine"):
        install._make_environment(tmp_path)
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin")  # an environment, and not one of ours
    with pytest.raises(InstallError, match="than an engine of tuner's: name a new folder, or remove it"):
        install._make_environment(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(InstallError, match="cannot be made: Not a directory"):
        install._make_environment(tmp_path / "thesis.txt")


def test_an_unfinished_environment_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / ".tuner-engine").write_text("")
    (tmp_path / "rest").write_text("")
    install._make_environment(tmp_path)
    assert (tmp_path / ".tuner-engine").exists()
    assert (tmp_path / "bin" / "pip").exists()
    assert not (tmp_path / "rest").exists()


@pytest.mark.engine
def test_a_complete_engine_is_left_alone(engine_python: Path) -> None:
    said: list[str] = []
    assert install.install_engine(engine_python.parents[1], said.append) == engine_python
    assert said == [f"engine: {engine_python.parents[1]} is complete"]


def test_an_environment_without_vllm_is_not_complete() -> None:
    assert not install._runs(Path(sys.executable))
