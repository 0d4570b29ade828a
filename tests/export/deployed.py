"""What the other side reads of an export: each format's own parser, and its quoting undone, as its documents say it.

The quoting is written here once more, from the reader's side, and shares nothing with the exports.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

SCHEMAS = Path(__file__).with_name("schemas")


class Run(NamedTuple):
    """What is executed, and with which variables."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.json").read_text())


def without_env(run: Run) -> Run:
    """`/usr/bin/env -- NAME=VALUE ... PROGRAM` as what it executes."""
    argv, environment = list(run.argv), dict(run.environment)
    if argv[:2] != ["/usr/bin/env", "--"]:
        return run
    del argv[:2]
    while "=" in argv[0]:
        name, _, value = argv.pop(0).partition("=")
        environment[name] = value
    return Run(tuple(argv), environment)


def of_compose(text: str, parse: Callable[[str], Any] = yaml.safe_load) -> Run:
    service = parse(text)["services"]["vllm"]
    words = [*service["entrypoint"], *service["command"]]
    variables = {name: _compose(value) for name, value in service.get("environment", {}).items()}
    return without_env(Run(tuple(map(_compose, words)), variables))


def _compose(text: str) -> str:
    """$$ is $; $NAME and ${NAME} are a variable, which no test sets; any other $ is an error."""
    found = re.sub(r"\$(\$|\w+|\{[^}]*\})?", lambda match: _one_dollar(match[1]), text)
    assert isinstance(found, str)
    return found


def _one_dollar(what: str | None) -> str:
    assert what is not None
    return "$" if what == "$" else ""


def kubernetes(text: str) -> str:
    """As k8s.io/kubernetes/third_party/forked/golang/expansion: $$ is $, and $(NAME) a variable, which here is unknown."""
    found, place = [], 0
    while place < len(text):
        if text[place] == "$" and text[place + 1 : place + 2] == "$":
            place += 1
        elif text[place : place + 2] == "$(" and ")" in text[place:]:
            return "a variable was read"
        found.append(text[place])
        place += 1
    return "".join(found)


def go_template(text: str) -> str:
    """Only raw strings are known: {{`...`}}."""
    assert re.fullmatch(r"(?s)(?:(?!\{\{).|\{\{`[^`]*`\}\})*", text), text
    return re.sub(r"(?s)\{\{`([^`]*)`\}\}", r"\1", text)


def variables(container: Mapping[str, Any], *, templated: bool = False) -> dict[str, str]:
    """Without those that are a reference."""
    read = (lambda text: kubernetes(go_template(text))) if templated else kubernetes
    return {entry["name"]: read(entry["value"]) for entry in container["env"] if "value" in entry}


def of_kubernetes(text: str) -> Run:
    deployment = next(one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    words = tuple(map(kubernetes, (*container["command"], *container["args"])))
    return without_env(Run(words, variables(container)))


def of_llm_d(text: str) -> Run:
    (container,) = yaml.safe_load(text)["decode"]["containers"]
    words = tuple(map(kubernetes, (*container["command"], *container["args"])))
    return without_env(Run(words, variables(container, templated=True)))


def of_helm(text: str) -> Run:
    """As the chart's deployment-vllm-multi.yaml puts it together."""
    engine = yaml.safe_load(text)["servingEngineSpec"]
    (model,) = engine["modelSpec"]
    caching = "--enable-prefix-caching" if model["vllmConfig"]["enablePrefixCaching"] else "--no-enable-prefix-caching"
    address = ["--host", "0.0.0.0", "--port", str(engine["containerPort"])]
    words = ["vllm", "serve", model["modelURL"], *address, caching, *model["vllmConfig"]["extraArgs"]]
    return Run(tuple(map(kubernetes, words)), variables(model))


def of_kserve(text: str) -> tuple[Mapping[str, Any], Run]:
    """The spec; and with the variables, what the shell of its container is given to read."""
    spec = yaml.safe_load(text)["spec"]
    (container,) = spec["template"]["containers"]
    found = variables(container, templated=True)
    return spec, Run((found.pop("VLLM_ADDITIONAL_ARGS", ""),), found)


def of_systemd(unit: str, command: str = "ExecStart", main_pid: str = "") -> Run:
    """systemd.syntax(7) and systemd.service(5), "Command lines"."""
    lines = re.sub(r"(?m)^[#;].*\n", "", unit).replace("\\\n", " ").split("\n")
    values = [line.partition("=")[::2] for line in lines if "=" in line]
    variables = [word for name, value in values if name == "Environment" for word in _words(value)]
    (line,) = [value for name, value in values if name == command]
    program, *rest = _words(line.replace("$MAINPID", main_pid))
    words = (_specifiers(program), *(re.sub(r"\$\$|\$\w+", _variable, _specifiers(word)) for word in rest))
    environment = dict(_specifiers(word).split("=", 1) for word in variables)
    return without_env(Run(words, environment))


def _variable(match: re.Match[str]) -> str:
    return "$" if match[0] == "$$" else "a variable was read"


def _specifiers(text: str) -> str:
    assert not re.search(r"(?<!%)(?:%%)*%(?!%)", text), text
    return text.replace("%%", "%")


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "s": " "}


def _words(text: str) -> list[str]:
    """Words between white space; quotation marks hold one together, backslashes are C's in and outside of them."""
    found: list[str] = []
    word: str | None = None
    quote, place = "", 0
    while place < len(text):
        letter = text[place]
        place += 1
        if letter == "\\":
            code = text[place]
            if code == "x":
                word, place = (word or "") + chr(int(text[place + 1 : place + 3], 16)), place + 3
            else:
                word, place = (word or "") + _ESCAPES[code], place + 1
        elif quote:
            word, quote = (word or "", "") if letter == quote else ((word or "") + letter, quote)
        elif letter in "\"'":
            word, quote = word or "", letter
        elif letter in " \t":
            found, word = ([*found, word], None) if word is not None else (found, None)
        else:
            word = (word or "") + letter
    assert not quote
    return found if word is None else [*found, word]
