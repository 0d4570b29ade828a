"""Runs inside vLLM's interpreter: imports vLLM once, then says what settings it would really use.

In: one JSON list per line on stdin, the arguments after `vllm serve`. Out: one JSON object per line on stdout:
first {"version", "platform", "arguments"}, then for each request {"resolved": {...}} or {"error": sentence, "usage": bool}.
It imports nothing of tuner, starts no server, and ends when its stdin is closed, which is also how it dies with tuner.
"""

import json
import os
import sys
from typing import Any

#: Where vLLM keeps a setting under another name than its flag.
_RENAMED = {"kv_cache_dtype": "cache_dtype"}
#: Never told: they may hold a secret.
_SECRET = {"api_key", "hf_token"}
_SECTIONS = ("scheduler_config", "cache_config", "model_config", "parallel_config", "device_config", "load_config")


class _Refused(Exception):
    """argparse's own sentence, which it would print before exiting with 2."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever vLLM prints goes to stderr
    parser = _parser()
    environment = dict(os.environ)
    answers.write(json.dumps(_hello(parser)) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(_answer(parser, json.loads(line))) + "\n")
        os.environ.clear()  # resolving writes variables (LD_PRELOAD, worker method); the next call must not see them
        os.environ.update(environment)


def _parser() -> Any:
    try:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
    except ImportError:  # before vLLM 0.30
        from vllm.entrypoints.openai.cli_args import make_arg_parser
    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:
        from vllm.utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):  # type: ignore[misc,valid-type]
        def error(self, message: str) -> None:
            raise _Refused(message)

    return make_arg_parser(Parser(prog="vllm serve"))


def _hello(parser: Any) -> dict[str, Any]:
    import vllm
    from vllm.platforms import current_platform

    names = sorted({action.dest for action in parser._actions})
    return {"version": vllm.__version__, "platform": str(current_platform.device_type), "arguments": names}


def _answer(parser: Any, argv: list[str]) -> dict[str, Any]:
    try:
        return {"resolved": _resolve(parser, argv)}
    except _Refused as error:
        return {"error": str(error), "usage": True}
    except SystemExit as error:
        return {"error": f"vLLM exits with {error.code}", "usage": True}
    except Exception as error:  # noqa: BLE001  vLLM raises anything; its sentence is the answer
        return {"error": _sentence(error), "usage": False}


def _resolve(parser: Any, argv: list[str]) -> dict[str, Any]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    args = parser.parse_args(argv)
    if args.model_tag is not None:
        args.model = args.model_tag
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config(UsageContext.OPENAI_API_SERVER)
    resolved = {}
    for name in sorted(vars(args).keys() - _SECRET):
        value = _find(config, name, vars(args)[name])
        if isinstance(value, bool | int | float | str):
            resolved[name] = value
        elif hasattr(value, "dtype") or str(value).startswith("torch."):
            resolved[name] = str(value).removeprefix("torch.")
    resolved["api_server_count"] = args.api_server_count or args.data_parallel_size
    resolved["enforce_eager"] = bool(config.model_config.enforce_eager)
    resolved["compilation_mode"] = str(getattr(config.compilation_config, "mode", ""))
    return resolved


def _find(config: Any, name: str, otherwise: Any) -> Any:
    wanted = _RENAMED.get(name, name)
    for section in _SECTIONS:
        part = getattr(config, section, None)
        if part is not None and hasattr(part, wanted):
            return getattr(part, wanted)
    return otherwise


def _sentence(error: BaseException) -> str:
    """The cause in one line: pydantic wraps it as 'Value error, SENTENCE [type=...'."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if line.startswith("Value error, "):
            return line.removeprefix("Value error, ").split(" [type=")[0]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].split(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose vllm.py would hide vLLM
    main()
