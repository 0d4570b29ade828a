"""What `--help` looks like: headings, examples, and every command with its whole first sentence, as plain text."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Group(TyperGroup):
    """Its commands with the whole first sentence of each, folded and never cut."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, (found.help or "").split("\n\n")[0].replace("\n", " ")) for name, found in found if found]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


#: What is typed, by command.
EXAMPLES = {
    "optimize": "tuner optimize --gpu t4 --trials 40\n"
    "tuner optimize --gpu l4 --model /models/mine --users 128 --slo ttft_p99=500ms\n"
    "tuner optimize --engine sim --gpu t4",
    "studies": "tuner studies\ntuner studies --json - | jq -r .studies[].study",
    "trials": "tuner trials t4-demo-chat --all",
    "show": "tuner show t4-demo-chat\ntuner show t4-demo-chat 7",
    "export": "tuner export t4-demo-chat\ntuner export t4-demo-chat --format yaml --output vllm.yaml\n"
    "tuner export t4-demo-chat --format compose --host 0.0.0.0 --output compose.yaml",
    "report": "tuner report t4-demo-chat --output report.html\n"
    "tuner report t4-demo-chat --format markdown\n"
    "tuner report t4-demo-chat --format json | jq .verdict.sentence",
    "plan": "tuner plan --gpu t4\ntuner plan --gpu l4 --model mine --users 128 --slo ttft_p99=2s --price 0.80",
    "doctor": "tuner doctor\ntuner doctor --model mine --gpu l4 --workload chat --users 128\n"
    "tuner doctor --model mine --url http://127.0.0.1:8000",
    "bench": "tuner bench http://127.0.0.1:8000\n"
    "tuner bench http://127.0.0.1:8000 --request-rate 4 --find-rate --slo ttft_p99=500ms",
    "chat": "tuner chat http://127.0.0.1:8000\n"
    "tuner chat https://llm.example.com --model mine --api-key-env LLM_KEY --json -",
    "diagnose": "tuner diagnose http://127.0.0.1:8000\ntuner diagnose http://127.0.0.1:8000 --load chat --users 64\n"
    "tuner diagnose --prove --model demo --gpu cpu --load chat --users 16 --engine-arg max_num_seqs=2",
    "watch": "tuner watch http://127.0.0.1:8000 --study t4-demo-chat\n"
    "tuner watch http://10.0.0.1:8000 http://10.0.0.2:8000 --study t4-demo-chat --then queue --hours 01:00-05:00",
    "proposals": "tuner proposals\ntuner proposals 3",
    "approve": "tuner approve 3 --why 'tested on staging'\n"
    "tuner approve 3 --why 'try it' --canary-cmd ./deploy.sh --revert-cmd ./back.sh --canary-url http://10.0.0.1:8000",
    "serve": "tuner serve --model mine=/models/mine\n"
    "tuner serve --host 0.0.0.0 --token-file token --allow allow.yaml --storage postgresql://tuner@db/tuner",
    "compare": "tuner compare http://127.0.0.1:8000 http://127.0.0.1:8001\n"
    "tuner compare few.yaml many.yaml --gpu cpu --model demo",
    "import": "tuner import results/20261129_101500 --output surface.jsonl --space-output space.yaml --gpu l4\n"
    "tuner import --optuna sqlite:///optuna.db --study mine --objective-name throughput",
}


class Command(TyperCommand):
    """Options under the headings of their panels, as plain text at any width."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            panel = (
                "Arguments" if parameter.param_type_name == "argument" else getattr(parameter, "rich_help_panel", None)
            )
            if (row := parameter.get_help_record(ctx)) is not None:
                panels.setdefault(panel or "Options", []).append(row)
        for panel in sorted(panels, key=lambda name: name != "Arguments"):
            with formatter.section(panel):
                formatter.write_dl(panels[panel])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples, a line each, as they are typed."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{' ' * formatter.current_indent}{line}\n")
