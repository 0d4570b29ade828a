"""docs/exports.md names the formats that there are, and shows what they say first."""

import re
import shlex
from dataclasses import replace

from conftest import REPOSITORY
from deployed_samples import to_deploy

from tuner.export.formats import EXPORTERS

TEXT = (REPOSITORY / "docs" / "exports.md").read_text()


def test_its_table_has_every_format() -> None:
    assert re.findall(r"^\| `(\w[\w-]+)` \|", TEXT, re.MULTILINE) == [*EXPORTERS, "surface"]


def test_its_commands_write_every_format() -> None:
    commands = [shlex.split(line) for line in re.findall(r"^\$ (tuner .+)$", TEXT, re.MULTILINE)]
    formats = [words[words.index("--format") + 1] if "--format" in words else "command" for words in commands]
    assert formats == list(EXPORTERS)
    written = {words[words.index("--output") + 1] for words in commands} - {"result.json"}
    used = TEXT.split("Then, one of:")[1].split("\n## ")[0]
    assert [file for file in written if file not in used] == []


def test_its_first_lines_are_those_of_a_trial_that_is_not_verified() -> None:
    shown = re.findall(r"^    (# .+)$", TEXT, re.MULTILINE)
    found = replace(to_deploy(study="t4-demo-chat"), verdict=None)
    assert EXPORTERS["command"](found).splitlines()[: len(shown)] == shown


def test_its_ways_to_start_are_those_in_the_files() -> None:
    for format, command in (("helm", "vllm-stack"), ("llm-d", "llm-d-modelservice")):
        (line,) = [line for line in EXPORTERS[format](to_deploy()).splitlines() if line.startswith("# start: ")]
        (url,) = re.findall(r"--repo (\S+)", line)
        assert f"helm upgrade --install vllm {command} --repo {url} -f " in TEXT
