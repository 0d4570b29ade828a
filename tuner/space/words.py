"""A word that a user chose (a study's name, an environment variable's, a model's) in; why it cannot be used, or None, out.
Pure."""

import json
import re
from collections.abc import Iterable, Mapping

#: A file system's limit for a name is 255 bytes; suffixes need some.
MAX_NAME_BYTES = 200
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: vLLM's argument, or a part of a nested config: its dotted name.
ARGUMENT = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
#: Arguments that are secrets, and the environment variable that vLLM and the hub read instead.
SECRET_ARGUMENTS = {"hf_token": "HF_TOKEN", "api_key": "VLLM_API_KEY when you deploy"}
#: Arguments that tuner gives to every server itself.
TUNERS_OWN = frozenset({"model", "host", "port", "served_model_name"})
#: TOKENIZERS_PARALLELISM and its like are no secrets.
_SECRET = re.compile(r"TOKEN(?!IZ)|KEY|SECRET|PASSWORD", re.IGNORECASE)
#: How an argument ends, or a key of a nested config, that is a secret; max_num_batched_tokens, eos_token and
#: allow_credentials are none.
_SECRET_ARGUMENT = re.compile(
    r"(?:.*_)?(?:(?:api|access|secret|private)?keys?|(?<!(?:per|eos|bos|pad|unk|sep|cls)_)token|auth|authorization|bearer"
    r"|secrets?|(?<!allow_)credentials?|passwords?|passwd|passphrase|pwd)"
)


def not_a_name(name: str) -> str | None:
    """Why `name` cannot be that of a study or a file's; it becomes a folder's, and is printed."""
    if not name.strip():
        return "it is empty"
    if why := not_printable(name):
        return why
    if any(letter in name for letter in "/\\") or name in (".", ".."):
        return "it becomes the name of a folder: leave out / and \\"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    return None


def not_printable(text: str) -> str | None:
    """Why `text` cannot be shown on a terminal as it is."""
    return None if text.isprintable() else "it holds control characters (line breaks, escapes): leave them out"


def not_a_value(value: object) -> str | None:
    """Why `value` cannot be an argument's: it is a nested config as a whole, written in YAML or as JSON."""
    keys = value
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            keys = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(keys, Mapping):
        return None
    key = next(iter(keys), "key")
    return f"expected a value, found a config of its own: write each part of it by its dotted name, `NAME.{key}: ...`"


def is_argument(name: str) -> bool:
    """Whether `name` can be one of vLLM's arguments, or a part of one by its dotted name."""
    return ARGUMENT.fullmatch(name) is not None


def whole_of(name: str, names: Iterable[str]) -> str | None:
    """The nested config among `names` that the dotted `name` is a part of."""
    return next((whole for whole in names if name.startswith(f"{whole}.")), None)


def is_secret(variable: str) -> bool:
    """Whether the value of an environment variable must be neither stored nor exported, by its name."""
    return _SECRET.search(variable) is not None


def is_secret_argument(name: str) -> bool:
    """Whether the value of one of vLLM's arguments, or of a part of a nested config by its dotted name, is a secret."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
    return any(_SECRET_ARGUMENT.fullmatch(part) for part in snake.split("."))


def instead_of_secret(name: str) -> str | None:
    """What to do in place of giving an argument that is a secret; None for one that is none."""
    if name in SECRET_ARGUMENTS:
        return f"set {SECRET_ARGUMENTS[name]} in the shell instead"
    return "leave it out" if is_secret_argument(name) else None


def not_a_variable(name: str, value: str) -> str | None:
    """Why a variable of the environment cannot be part of what is stored, exported and started."""
    if not _ENVIRONMENT_NAME.fullmatch(name):
        return "this is no name of an environment variable: letters, digits and _, and no digit first"
    if is_secret(name):
        return f"a secret would be stored and exported with every trial: set {name} in the shell instead"
    return not_printable(value)
