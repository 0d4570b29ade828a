"""Runs inside vLLM's interpreter, as a part of serve_forks.py: arguments in, the settings that vLLM would use out.

It imports nothing of tuner and starts nothing.
"""

import copy
import importlib.util
from pathlib import Path
from typing import Any

_beside = importlib.util.spec_from_file_location("tuner_dotted", Path(__file__).with_name("dotted.py"))
dotted = importlib.util.module_from_spec(_beside)
_beside.loader.exec_module(dotted)

#: Where vLLM keeps a setting under another name than its flag.
_RENAMED = {"kv_cache_dtype": "cache_dtype"}
#: tuner's own, for which vLLM takes these (tuner/launch/shared_gpu.py).
_ENGINES = "engines_per_gpu"
_FOR_ENGINES = {"headless", "data_parallel_size_local", "data_parallel_start_rank", "kv_cache_memory_bytes"}
#: Never told: they may hold a secret.
_SECRET = {"api_key", "hf_token"}
_SECTIONS = (
    *("scheduler_config", "cache_config", "model_config", "parallel_config", "device_config", "load_config"),
    "compilation_config",
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
    names |= {_ENGINES} if names >= _FOR_ENGINES else set()
    return {"version": vllm.__version__, "platform": str(current_platform.device_type), "arguments": sorted(names)}


def configured(parser: Any, argv: list[str]) -> tuple[Any, Any]:
    """The parsed arguments, and the VllmConfig that a server of them has before it starts."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    args = copy.deepcopy(parser.parse_args(argv))  # vLLM writes into the defaults, which the parser hands out
    if args.model_tag is not None:
        args.model = args.model_tag
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config(UsageContext.OPENAI_API_SERVER)
    return args, config


def resolved(args: Any, config: Any, argv: list[str]) -> dict[str, Any]:
    """The settings that vLLM would use, by the names of its arguments."""
    found = {}
    for name in sorted(vars(args).keys() - _SECRET):
        value = _find(config, name, vars(args)[name])
        if isinstance(value, bool | int | float | str):
            found[name] = value
        elif (told := dotted.told(value)) is not None:
            found[name] = told
        elif hasattr(value, "dtype") or str(value).startswith("torch."):
            found[name] = str(value).removeprefix("torch.")
    found["api_server_count"] = args.api_server_count or args.data_parallel_size
    found["enforce_eager"] = bool(config.model_config.enforce_eager)
    found |= dotted.dotted_values(config, args, argv)
    _tell_engines(found, args)
    if found.get("distributed_executor_backend") == "uni" and args.distributed_executor_backend is None:
        del found["distributed_executor_backend"]
    found["compilation_mode"] = str(getattr(config.compilation_config, "mode", ""))
    _tell_what_may_change(found, config)
    return found


def _tell_engines(found: dict[str, Any], args: Any) -> None:
    """How many share a GPU, and the other settings as if none did."""
    local = args.data_parallel_size_local or args.data_parallel_size
    found[_ENGINES] = engines = max(1, args.data_parallel_size // local)
    if engines > 1:
        found["data_parallel_size"] = local
        found["gpu_memory_utilization"] = round(engines * found["gpu_memory_utilization"], 3)


def _tell_what_may_change(found: dict[str, Any], config: Any) -> None:
    """What vLLM may change when it starts, under one name each. A backend that vLLM chooses then is not told, nor one that is
    asked for where there is only one, whatever is asked for (platforms/cpu.py, get_attn_backend_cls)."""
    from vllm.platforms import current_platform

    graphs = getattr(config.compilation_config, "cudagraph_mode", None)
    found["compilation_config.cudagraph_mode"] = str(getattr(graphs, "name", "NONE"))
    found["user_specified_block_size"] = bool(getattr(config.cache_config, "user_specified_block_size", False))
    backend = getattr(getattr(config, "attention_config", None), "backend", None)
    found.pop("attention_backend", None)
    if backend is not None and not (current_platform.is_cpu() and not getattr(config.model_config, "use_mla", False)):
        found["attention_backend"] = str(getattr(backend, "name", backend))


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
