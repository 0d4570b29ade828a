"""Runs inside vLLM's interpreter, as a part of serve_forks.py: arguments in, the settings that vLLM would use out.

It imports nothing of tuner and starts nothing.
"""

import copy
import importlib
import importlib.util
from pathlib import Path
from typing import Any

_beside = importlib.util.spec_from_file_location("tuner_dotted", Path(__file__).with_name("dotted.py"))
dotted = importlib.util.module_from_spec(_beside)
_beside.loader.exec_module(dotted)

#: Where vLLM keeps a setting under another name than its flag.
_RENAMED = {"kv_cache_dtype": "cache_dtype"}
#: Never told: they may hold a secret.
_SECRET = {"api_key", "hf_token"}
_SECTIONS = (
    *("scheduler_config", "cache_config", "model_config", "parallel_config", "device_config", "load_config"),
    "compilation_config",
)
#: What EngineCore and a worker import when they start; some exist only in some versions.
_MODULES = (
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.v1.attention.backends.flash_attn",
    "vllm.model_executor.model_loader",
    "vllm.compilation.backends",
)


class Refused(Exception):
    """argparse's own sentence, which it would print before exiting with 2."""


def make_parser() -> Any:
    import vllm.entrypoints.cli.serve  # noqa: F401  all that a server needs

    try:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
    except ImportError:  # before vLLM 0.30
        from vllm.entrypoints.openai.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):  # type: ignore[misc]
        def error(self, message: str) -> None:
            raise Refused(message)

    return make_arg_parser(Parser(prog="vllm serve"))


def hello(parser: Any) -> dict[str, Any]:
    import vllm
    from vllm.platforms import current_platform

    names = {action.dest for action in parser._actions}
    names |= dotted.dotted_names(names)
    return {"version": vllm.__version__, "platform": str(current_platform.device_type), "arguments": sorted(names)}


def resolve(parser: Any, argv: list[str]) -> dict[str, Any]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    args = copy.deepcopy(parser.parse_args(argv))  # vLLM writes into the defaults, which the parser hands out
    if args.model_tag is not None:
        args.model = args.model_tag
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config(UsageContext.OPENAI_API_SERVER)
    _import_model(config)
    resolved = {}
    for name in sorted(vars(args).keys() - _SECRET):
        value = _find(config, name, vars(args)[name])
        if isinstance(value, bool | int | float | str):
            resolved[name] = value
        elif (told := dotted.told(value)) is not None:
            resolved[name] = told
        elif hasattr(value, "dtype") or str(value).startswith("torch."):
            resolved[name] = str(value).removeprefix("torch.")
    resolved["api_server_count"] = args.api_server_count or args.data_parallel_size
    resolved["enforce_eager"] = bool(config.model_config.enforce_eager)
    resolved |= dotted.dotted_values(config, args, argv)
    resolved["compilation_mode"] = str(getattr(config.compilation_config, "mode", ""))
    return resolved


def _find(config: Any, name: str, otherwise: Any) -> Any:
    wanted = _RENAMED.get(name, name)
    for section in _SECTIONS:
        part = getattr(config, section, None)
        if part is not None and hasattr(part, wanted):
            return getattr(part, wanted)
    return otherwise


def sentence(error: BaseException) -> str:
    """The cause in one line: pydantic wraps it as 'Value error, SENTENCE [type=...'."""
    if isinstance(error, KeyError):  # an enumeration's
        return f"vLLM does not know {error}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if line.startswith("Value error, "):
            return line.removeprefix("Value error, ").split(" [type=")[0]
    if len(lines) > 2 and "validation error" in lines[0]:
        argument = lines[0].split(": ")[0] + ": " if ": " in lines[0] else ""
        return f"{argument}{lines[1]}: {lines[2].split(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__


def _import_model(config: Any) -> None:
    """Import what a server of this configuration would import, so that forks have it; what fails here, they try themselves."""
    from vllm import ModelRegistry

    worker = str(getattr(config.parallel_config, "worker_cls", "")).rpartition(".")[0]
    for module in (*_MODULES, *([worker] if worker else [])):
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001  another vLLM, or another platform
            continue
    for architecture in getattr(config.model_config, "architectures", ()):
        try:
            ModelRegistry.models[architecture].load_model_cls()
        except Exception:  # noqa: BLE001
            continue
