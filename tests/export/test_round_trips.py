"""Whatever the arguments and variables of a launch are: what the other side reads of an export is what ran."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping

import deployed
import pytest
import yaml
from deployed_samples import HAZARDS, to_deploy
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tuner.errors import UsageError
from tuner.export.formats import EXPORTERS
from tuner.space.words import is_secret

#: A word of a command line is anything but NUL.
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20) | st.sampled_from(HAZARDS)
ARGUMENTS = st.lists(WORDS, max_size=6).map(tuple)
IDENTIFIERS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not is_secret(name))
ODD_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0="), min_size=1, max_size=8).filter(
    lambda name: not is_secret(name)
)
PLAIN = st.dictionaries(IDENTIFIERS, WORDS, max_size=4)
ANY = st.dictionaries(IDENTIFIERS | ODD_NAMES, WORDS, max_size=4)
READERS: Mapping[str, Callable[[str], deployed.Run]] = {
    "compose": deployed.of_compose,
    "kubernetes": deployed.of_kubernetes,
    "llm-d": deployed.of_llm_d,
    "systemd": deployed.of_systemd,
}
#: As tried with Helm 4.2: toYaml of a value with one of these is an empty text.
HELM_LOSES = re.compile("[\x7f-\x84\x86-\x9f\ufffe\uffff]")
#: Machines that test are busy.
AT_ANY_PACE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
IN_A_CONTAINER = ("--host", "0.0.0.0", "--port", "8000")


@pytest.mark.parametrize("format", READERS)
@AT_ANY_PACE
@given(arguments=ARGUMENTS, environment=ANY)
def test_the_words_and_variables_are_those_that_ran(
    format: str, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    assume(format != "llm-d" or not HELM_LOSES.search("".join((*arguments, *environment.values()))))
    found = to_deploy(arguments, environment=environment)
    read = READERS[format](EXPORTERS[format](found))
    if format == "systemd":
        assert read.argv == (*found.trial.command.argv, "--host", "127.0.0.1", "--port", "8000")
    else:
        assert read.argv == ("vllm", *found.trial.command.argv[1:], *IN_A_CONTAINER)
    assert read.environment == environment


@AT_ANY_PACE
@given(arguments=ARGUMENTS, environment=PLAIN)
def test_the_production_stack_adds_its_own_before_those_that_ran(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    assume(not HELM_LOSES.search("".join((*arguments, *environment.values()))))
    read = deployed.of_helm(EXPORTERS["helm"](to_deploy(arguments, environment=environment)))
    assert read.argv == ("vllm", "serve", "some/model", *IN_A_CONTAINER, "--enable-prefix-caching", *arguments)
    assert read.environment == environment


@AT_ANY_PACE
@given(arguments=ARGUMENTS, environment=PLAIN)
def test_the_shell_of_kserve_reads_the_arguments_that_ran(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    """With the last lines of KServe's own container, and a program that prints its words."""
    spec, read = deployed.of_kserve(EXPORTERS["kserve"](to_deploy(arguments, environment=environment)))
    script = 'eval "exec printf %s\\\\\\\\0 /mnt/models \\\n  ${VLLM_ADDITIONAL_ARGS} \\\n  $@"'
    done = subprocess.run(
        ["/bin/bash", "-c", script, "--"], env={"VLLM_ADDITIONAL_ARGS": read.argv[0]}, capture_output=True, check=True
    )
    assert done.stdout.decode().split("\0")[:-1] == ["/mnt/models", *arguments]
    assert (spec["model"], read.environment) == ({"uri": "hf://some/model", "name": "some/model"}, environment)


@AT_ANY_PACE
@given(arguments=ARGUMENTS, environment=PLAIN)
def test_a_shell_reads_the_command_that_ran(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    found = to_deploy(arguments, environment=environment)
    words = shlex.split(EXPORTERS["command"](found), comments=True)
    assert words[: len(environment)] == [f"{name}={value}" for name, value in environment.items()]
    assert tuple(words[len(environment) : -4]) == found.trial.command.argv


@AT_ANY_PACE
@given(study=st.text(), words=WORDS)
def test_no_comment_becomes_a_line_of_its_own(study: str, words: str) -> None:
    """A study's name is what its user likes; nothing of it gets out of its comment."""
    plain, odd = to_deploy(), to_deploy(study=f"{study}\n{words}\\")
    for format, export in EXPORTERS.items():
        if format == "json":
            assert json.loads(export(odd))["study"] == f"{study}\n{words}\\"
            continue
        heads = [[line for line in text.splitlines() if line.startswith("#")] for text in (export(plain), export(odd))]
        assert len(heads[0]) == len(heads[1]), format
        assert all(line == line.rstrip("\\") for line in heads[1])
        if format in ("yaml", "command"):
            below = [
                [line for line in text.split("\n") if not line.startswith("#")] for text in (export(plain), export(odd))
            ]
            assert below[0] == below[1]


@pytest.mark.parametrize("format", ["helm", "kserve"])
def test_a_variable_that_the_api_refuses_is_refused_here(format: str) -> None:
    with pytest.raises(UsageError, match=r"cannot set the environment variable 'A B': use --format kubernetes"):
        EXPORTERS[format](to_deploy(environment={"A B": "1"}))


@pytest.mark.parametrize(("passed", "caching"), [({}, True), ({"enable_prefix_caching": False}, False)])
def test_the_production_stack_is_told_of_prefix_caching_what_ran(passed: dict[str, bool], caching: bool) -> None:
    """The chart turns it off where nothing is said."""
    values = yaml.safe_load(EXPORTERS["helm"](to_deploy(settings=passed)))
    told = values["servingEngineSpec"]["modelSpec"][0]["vllmConfig"]
    assert told["enablePrefixCaching"] is caching
    assert told["extraArgs"] == ([] if caching else ["--no-enable-prefix-caching"])


@pytest.mark.parametrize("format", ["helm", "llm-d"])
@pytest.mark.parametrize("letter", ["\x7f", "\x9b", "\uffff"])
def test_what_helm_would_lose_is_refused(format: str, letter: str) -> None:
    for found in (to_deploy((f"a{letter}",)), to_deploy(environment={"A": f"a{letter}"})):
        with pytest.raises(UsageError, match="Helm cannot carry the control character in"):
            EXPORTERS[format](found)
    assert EXPORTERS[format](to_deploy(("a\x07\x85\u2028",)))
