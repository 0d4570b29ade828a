"""What a user can write that cannot be meant: one sentence, with the file and the line of it, before it costs anything."""

import os
import time
from pathlib import Path

import pytest
from commands import tuner

from tuner.errors import InstallError, UsageError
from tuner.launch.demo_model import make_demo_model
from tuner.launch.install import install_engine
from tuner.record.connect import parse_url
from tuner.space.files import load_space
from tuner.space.search_space import SearchSpace
from tuner.space.words import not_a_name
from tuner.space.yaml_file import read_yaml
from tuner.workload.presets import load_workload

SPACE = """gpu: {names: []}
environment:
  OMP_NUM_THREADS: "1"
fixed:
  enforce_eager: true
parameters:
  max_num_seqs: {type: int, low: 16, high: 64}
"""
WORKLOAD = "api: chat\nusers: 4\ninput_tokens: {low: 8, high: 16}\noutput_tokens: 8\n"


def _refused(folder: Path, text: str, how: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        load_space(path) if how == "space" else load_workload(str(path))
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("text", "how", "says"),
    [
        (WORKLOAD + "users: 8\n", "workload", "5: users: this key is already in line 2: leave one of them out"),
        (WORKLOAD.replace("high: 16", "high: 16, low: 9"), "workload", "3: low: this key is already in line 3"),
        (WORKLOAD.replace("high: 16}", "high: 16,\n low: 9}"), "workload", "4: low: this key is already in line 3"),
        (WORKLOAD.replace("users: 4", "users: true"), "workload", "2: users: expected a number, found true or false"),
        (WORKLOAD.replace("low: 8", "low: yes"), "workload", "3: input_tokens.low: expected a number, found true"),
        (WORKLOAD + "window_s: on\n", "workload", "5: window_s: expected a number, found true or false"),
        (WORKLOAD + "find_rate: 1.5\n", "workload", "5: find_rate: expected true or false, found 1.5"),
        (WORKLOAD.replace("users: 4", "users: 100000000"), "workload", "2: users: expected a number of at most"),
        (WORKLOAD.replace("users: 4", "request_rate: .inf"), "workload", "2: request_rate: "),
        (WORKLOAD + "turns: 64\n", "workload", ""),
        (WORKLOAD.replace("8, high: 16", "8, high: 9000000") + "turns: 60\n", "workload", "5: turns: the longest"),
        (
            WORKLOAD.replace("low: 8, high: 16", "low: 90000, high: 90000")
            + "shared_prefix: {tokens: 80000, count: 90000}\n",
            "workload",
            "5: shared_prefix: 90,000 prefixes of 80,000 tokens are more than",
        ),
        (WORKLOAD + "name: ../../etc\n", "workload", "5: name: '../../etc' cannot be used: it becomes the name of a"),
        (WORKLOAD + 'name: "a\\e[31m"\n', "workload", "5: name: 'a\\x1b[31m' cannot be used: it holds control"),
        (WORKLOAD + "names: x\n", "workload", "5: names: unknown key (did you mean 'name'?)"),
        (WORKLOAD + "a: &a [*a]\n", "workload", ""),
        ("", "workload", "1: expected `key: value` lines, the file is empty"),
        ("# nothing\n", "workload", "1: expected `key: value` lines, the file is empty"),
        ("- a\n", "workload", "1: expected `key: value` lines, found a list"),
        ("? [a, b]\n: c\n", "workload", "1: a key is a word"),
        ("a: " + "[" * 5000 + "\n", "workload", ""),
        ("a: 2024-99-99\n", "workload", " a value in it cannot be read"),
        (SPACE + "  max_num_seqs: {type: int, low: 1, high: 2}\n", "space", "8: max_num_seqs: this key is already in"),
        (SPACE.replace("low: 16", "low: true"), "space", "7: parameters.max_num_seqs.low: "),
        (SPACE + "name: a/b\n", "space", "8: name: it becomes the name of a folder"),
        (SPACE + 'name: "a\\nb"\n', "space", "8: name: it holds control characters"),
        (
            SPACE.replace("OMP_NUM_THREADS", "'X; touch /tmp/p;Y'"),
            "space",
            "3: environment.X; touch /tmp/p;Y: this is no",
        ),
        (SPACE.replace("OMP_NUM_THREADS", "2X"), "space", "3: environment.2X: this is no name of an environment"),
        (SPACE.replace('"1"', '"1\\nX=2"'), "space", "3: environment.OMP_NUM_THREADS: it holds control characters"),
        (SPACE.replace("OMP_NUM_THREADS", "HF_TOKEN"), "space", "3: environment.HF_TOKEN: a secret would be stored"),
        (SPACE.replace("OMP_NUM_THREADS", "AWS_SECRET_ACCESS_KEY"), "space", "3: environment.AWS_SECRET_ACCESS_KEY: "),
        (SPACE.replace("enforce_eager: true", "api_key: abc"), "space", "5: fixed.api_key: a secret would be stored"),
        (SPACE.replace("enforce_eager: true", "hf_token: abc"), "space", "5: fixed.hf_token: a secret would be stored"),
        (
            SPACE.replace("enforce_eager: true", "a.b.password: abc"),
            "space",
            "5: fixed.a.b.password: a secret would be",
        ),
        (SPACE.replace("enforce_eager: true", "port: 99999"), "space", "5: fixed.port: tuner itself gives port"),
        (SPACE.replace("enforce_eager: true", 'revision: "a\\e[0m"'), "space", "5: fixed.revision: it holds control"),
        (SPACE.replace("max_num_seqs:", "api_key:"), "space", "7: parameters.api_key: "),
    ],
)
def test_a_file_that_cannot_be_meant(tmp_path: Path, text: str, how: str, says: str) -> None:
    if "turns: 64" in text:  # many, and short enough
        (tmp_path / "mine.yaml").write_text(text)
        assert load_workload(str(tmp_path / "mine.yaml")).turns is not None
        return
    assert _refused(tmp_path, text, how).startswith(says)


def test_aliases_that_stand_for_millions_of_values_cost_nothing(tmp_path: Path) -> None:
    rows = "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(9 * [f'*{chr(97 + n)}'])}]\n" for n in range(9))
    (tmp_path / "w.yaml").write_text(f"a: &a [x,x,x,x,x,x,x,x,x]\n{rows}")
    began_s = time.perf_counter()
    with pytest.raises(UsageError, match="this holds more than 500,000 values"):
        load_workload(str(tmp_path / "w.yaml"))
    assert time.perf_counter() - began_s < 5


def test_what_is_no_file_to_read_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "large.yaml").write_text("a: b\n" * 1_000_000)
    for name, says in (("pipe", "it is no regular file"), ("folder", "it is a folder"), ("large", "larger than 4 MiB")):
        with pytest.raises(UsageError, match=says):
            read_yaml(tmp_path / f"{name}.yaml", SearchSpace)


def test_anchors_that_are_meant_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    text = WORKLOAD.replace("{low: 8, high: 16}", "&lengths {low: 8, high: 16}").replace(
        "tokens: 8", "tokens: *lengths"
    )
    (tmp_path / "w.yaml").write_text("\ufeff" + text)
    found = load_workload(str(tmp_path / "w.yaml"))
    assert found.input_tokens == found.output_tokens


CONFIG = {
    "trials: 1\ntrials: 2\n": "c.yaml:2: trials: this key is already in line 1",
    "trials: true\n": "c.yaml:1: trials: expected a number, found true or false",
    "gpu: cpu\ntrials: 0\n": "c.yaml:2: --trials is 0 and must be at least 1",
    "gpu: cpu\nusers: 99999999\n": "c.yaml:2: --users is 99,999,999, and 1,000,000 are the most",
    "gpu: cpu\nstudy: ../../x\n": "c.yaml:2: --study '../../x': it becomes the name of a folder",
    'study: "a\\e[2J"\n': "c.yaml:1: --study 'a\\x1b[2J': it holds control characters",
    "slo: ttft_p99=500ms\n": "c.yaml:1: slo: expected a list, such as [one, two], found the text 'ttft_p99=500ms'",
    "gpu: cpu\nslo: [ttft_p99=500ms, ttft_p99=1s]\n": "c.yaml:2: --slo ttft_p99 is given twice",
    "gpu: cpu\nslo: [ttft_p50=2s, ttft_p99=1s]\n": "c.yaml:2: --slo ttft_p50=2,000 ms says nothing beside",
    "engine-arg: [port=99999]\n": "c.yaml:1: --engine-arg port: tuner itself gives port",
    "engine-arg: [api_key=x]\n": "c.yaml:1: --engine-arg api_key: a secret",
    "trails: 3\n": "c.yaml:1: trails: unknown key (did you mean 'trials'?)",
    "max_model_ln: 3\n": "c.yaml:1: max_model_ln: unknown key (did you mean 'max_model_len'?)",
    "": "c.yaml:1: expected `key: value` lines, the file is empty",
}


@pytest.mark.parametrize(("text", "says"), CONFIG.items(), ids=range(len(CONFIG)))
def test_a_config_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    done = tuner(tmp_path, "optimize", "--config", "c.yaml")
    assert done.returncode == 2
    assert f"Error: {says}" in done.stderr
    assert not list(tmp_path.glob("*.db"))


REFUSED = {
    "optimize --study a/b": "--study 'a/b': it becomes the name of a folder",
    "optimize --study ..": "--study '..': it becomes",
    "optimize --study {control}": "it holds control characters",
    "optimize --study {long}": "it is longer than 200 bytes",
    "optimize --model {control}": "--model",
    "optimize --engine-arg max_num_seqs=1 --engine-arg max_num_seqs=2": "--engine-arg max_num_seqs is given twice",
    "optimize --quantized-model awq=a/b --quantized-model awq=a/c": "--quantized-model awq is given twice",
    "optimize --trials 1000000000": "--trials is 1,000,000,000, and 100,000 are the most",
    "optimize --engine sim --gpu t4 --users 900000": "900,000 users need",
    "optimize --request-rate inf": "request_rate is inf",
    "optimize --request-rate 1e12": "request_rate is 1,000,000,000,000.0: 1,000,000 are the most",
    "export s --port 0": "--port is 0 and must be 1 to 65535",
    "export s --port 99999": "--port is 99999 and must be 1 to 65535",
    "dashboard --port -1": "--port is -1 and must be 1 to 65535",
    "export s --host a;b": "--host is 'a;b' and must be an address or a name",
    "dashboard --host -x": "--host is '-x' and must be",
    "bench http://127.0.0.1:99999": "is no URL of a server",
    "bench http://[::1": "is no URL of a server",
    "bench http://{control}": "is no URL of a server",
    "studies --storage .": "--storage . is a folder: name a file in it, such as ./tuner.db",
}


@pytest.mark.parametrize(("arguments", "says"), REFUSED.items(), ids=REFUSED)
def test_an_argument_is_refused_before_it_costs_anything(tmp_path: Path, arguments: str, says: str) -> None:
    words = {"{control}": "a\x1b[31mb", "{long}": "x" * 600}
    done = tuner(tmp_path, *(words.get(word, word.replace("{control}", "a\x1bb")) for word in arguments.split()))
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "\x1b[31mb" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_path_is_a_database(tmp_path: Path) -> None:
    assert parse_url("tuner.db").database == "tuner.db"
    assert parse_url(f"{tmp_path}/x.db").render_as_string() == f"sqlite:///{tmp_path}/x.db"
    done = tuner(tmp_path, "studies", "--storage", "absent.db")
    assert "absent.db does not exist: run `tuner optimize` first" in done.stderr


@pytest.mark.parametrize("name", ["sim-t4-DeepSeek R1-chat", "mödel $(x)", "a.b", "'quoted'", "名前"])
def test_names_that_people_give_are_names(name: str) -> None:
    assert not_a_name(name) is None


def test_a_folder_that_holds_something_else_is_never_written(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text('{"mine": true}')
    with pytest.raises(UsageError, match=r"mine holds config.json, which is not the demo model's: name a new folder"):
        make_demo_model(mine)
    assert [path.name for path in mine.iterdir()] == ["config.json"]
    (mine / "pyvenv.cfg").write_text("home = /usr/bin\n")
    with pytest.raises(InstallError, match="holds something else than an engine of tuner's"):
        install_engine(mine, lambda text: None, cpu=True)
    assert (mine / "config.json").read_text() == '{"mine": true}'


def test_the_demo_model_is_finished_where_it_was_begun(tmp_path: Path) -> None:
    folder = make_demo_model(tmp_path / "demo")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    (folder / "tokenizer.json").unlink()
    before = (folder / "config.json").stat().st_mtime_ns
    assert make_demo_model(folder) == folder
    assert weights.read_bytes() == whole
    assert (folder / "tokenizer.json").exists()
    assert (folder / "config.json").stat().st_mtime_ns == before
