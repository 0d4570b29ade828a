"""The command line: each command parses, calls one function, prints. Results on stdout, progress and errors on stderr."""

import sys
from importlib.metadata import version as installed_version

import typer

from tuner.cli.bench import bench as bench_command
from tuner.cli.compare import compare as compare_command
from tuner.cli.console import errors
from tuner.cli.engine import demo_model, doctor, install_engine, spaces
from tuner.cli.history import dashboard, export, show, studies, trials
from tuner.cli.optimize import optimize
from tuner.cli.plan import plan as plan_command
from tuner.cli.workload import app as workload
from tuner.errors import TunerError

app = typer.Typer(
    name="tuner",
    help="Find the vLLM launch settings that are best for your GPU, model and users, by measuring.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (optimize, studies, trials, show, export, dashboard, spaces, doctor):
    app.command()(command)
app.command(name="plan")(plan_command)
app.command(name="bench")(bench_command)
app.command(name="compare")(compare_command)
app.add_typer(workload, name="workload")
app.command(name="install-engine")(install_engine)
app.command(name="demo-model")(demo_model)


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"tuner {installed_version('tuner')}")
        raise typer.Exit


@app.callback()
def main(
    debug: bool = typer.Option(False, help="Show the traceback of an error.", envvar="TUNER_DEBUG"),
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Find the vLLM launch settings that are best for your GPU, model and users, by measuring."""


def run() -> None:
    """The console script: every error leaves here, as one sentence and an exit code."""
    try:
        app()
    except TunerError as error:
        if "--debug" in sys.argv:
            raise
        errors.print(f"Error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `tuner trials | head`
        sys.stderr.close()
        sys.exit(0)
