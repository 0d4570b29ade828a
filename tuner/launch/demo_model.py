"""A folder in, a tiny Qwen2 model out: config, weights, tokenizer and chat template, the same bytes on every machine.

The weights are random, so the model talks nonsense, but it is a real model that vLLM loads, batches and streams. Made
with the standard library alone. It does not know vLLM or any hub.
"""

import json
import random
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import NormalDist

from tuner.errors import TunerError, UsageError

_HIDDEN = 256
_INTERMEDIATE = 512
_LAYERS = 2
_HEADS = 4
_KV_HEADS = 2
_MAX_POSITIONS = 4096
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_Tensor = tuple[str, tuple[int, ...], bytes]


def make_demo_model(folder: Path) -> Path:
    """Write the model (7 MB) into `folder`, which is made if missing, and return the folder; where it is already there nothing
    is done.

    Raises UsageError when the folder cannot be written, or holds anything else.
    """
    tokens, merges = _vocabulary()
    texts = {
        "config.json": _config(len(tokens)),
        "generation_config.json": {"bos_token_id": 0, "eos_token_id": [2, 0], "pad_token_id": 0},
        "tokenizer.json": _tokenizer(tokens, merges),
        "tokenizer_config.json": _tokenizer_config(),
    }
    files = {name: f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode() for name, content in texts.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files["model.safetensors"] = _safetensors(list(_weights(tokens)))
        _check_is_ours(folder, files)
        for name, content in files.items():
            if not (folder / name).exists() or (folder / name).stat().st_size != len(content):
                (folder / name).write_bytes(content)
    except OSError as error:
        raise UsageError(f"the demo model cannot be written to {folder}: {error.strerror}") from error
    return folder


def _check_is_ours(folder: Path, files: Mapping[str, bytes]) -> None:
    """Raises UsageError unless there is nothing but what would be written, perhaps not all of it."""
    for path in sorted(folder.iterdir()):
        if path.name not in files or not files[path.name].startswith(path.read_bytes()):
            raise UsageError(f"{folder} holds {path.name}, which is not the demo model's: name a new folder")


def _vocabulary() -> tuple[list[str], list[str]]:
    """Tokens by id, and the merges of a byte-level BPE in which every word of two syllables is one token.

    A word has a token with and without the space before it, so n words are n tokens wherever they stand.
    """
    letters = _byte_letters()
    syllables = [consonant + vowel for consonant in "bdklmnrst" for vowel in "aeiou"]
    words = [(first, second) for first in syllables for second in syllables]
    space = letters[ord(" ")]
    tokens = [*_SPECIAL, *letters, *syllables, *(a + b for a, b in words), *(space + a + b for a, b in words)]
    merges = [f"{s[0]} {s[1]}" for s in syllables]
    merges += [f"{a} {b}" for a, b in words]
    merges += [f"{space} {a}{b}" for a, b in words]
    return tokens, merges


def _byte_letters() -> list[str]:
    """The printable letter that stands for each byte 0..255 in a byte-level BPE (the GPT-2 alphabet)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


def _config(vocab_size: int) -> dict[str, object]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": _HIDDEN,
        "intermediate_size": _INTERMEDIATE,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "max_position_embeddings": _MAX_POSITIONS,
        "vocab_size": vocab_size,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "use_cache": True,
    }


def _tokenizer(tokens: list[str], merges: list[str]) -> dict[str, object]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": name, **flags} for i, name in enumerate(_SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges,
        },
    }


def _tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": _MAX_POSITIONS,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "chat_template": _CHAT_TEMPLATE,
    }


def _weights(tokens: list[str]) -> Iterator[_Tensor]:
    """Every tensor as (name, shape, bfloat16 bytes). Matrices keep the variance: their deviation is 1/sqrt(inputs)."""
    draw = random.Random(0)

    def matrix(name: str, rows: int, columns: int) -> _Tensor:
        return name, (rows, columns), _normal(draw, rows * columns, columns**-0.5)

    def constant(name: str, size: int, value: float) -> _Tensor:
        return name, (size,), _bfloat16(value) * size

    kv = _HIDDEN // _HEADS * _KV_HEADS
    yield "model.embed_tokens.weight", (len(tokens), _HIDDEN), _normal(draw, len(tokens) * _HIDDEN, 1.0)
    for layer in range(_LAYERS):
        at = f"model.layers.{layer}"
        yield constant(f"{at}.input_layernorm.weight", _HIDDEN, 1.0)
        for name, size in (("q", _HIDDEN), ("k", kv), ("v", kv)):
            yield matrix(f"{at}.self_attn.{name}_proj.weight", size, _HIDDEN)
            yield constant(f"{at}.self_attn.{name}_proj.bias", size, 0.0)
        yield matrix(f"{at}.self_attn.o_proj.weight", _HIDDEN, _HIDDEN)
        yield constant(f"{at}.post_attention_layernorm.weight", _HIDDEN, 1.0)
        yield matrix(f"{at}.mlp.gate_proj.weight", _INTERMEDIATE, _HIDDEN)
        yield matrix(f"{at}.mlp.up_proj.weight", _INTERMEDIATE, _HIDDEN)
        yield matrix(f"{at}.mlp.down_proj.weight", _HIDDEN, _INTERMEDIATE)
    yield constant("model.norm.weight", _HIDDEN, 1.0)
    # A zero row is a logit of 0 where the best of the others is near 10: single bytes are never said, so that every
    # token streams as whole text.
    silent = len(_SPECIAL) + 256
    words = _normal(draw, (len(tokens) - silent) * _HIDDEN, 3 * _HIDDEN**-0.5)
    yield "lm_head.weight", (len(tokens), _HIDDEN), bytes(2 * silent * _HIDDEN) + words


def _normal(draw: random.Random, count: int, deviation: float) -> bytes:
    """`count` bfloat16 numbers of a normal distribution: a random byte picks one of its 256 quantiles."""
    quantiles = [_bfloat16(NormalDist(0.0, deviation).inv_cdf((byte + 0.5) / 256)) for byte in range(256)]
    picks = draw.randbytes(count)
    numbers = bytearray(2 * count)
    numbers[0::2] = picks.translate(bytes(q[0] for q in quantiles))
    numbers[1::2] = picks.translate(bytes(q[1] for q in quantiles))
    return bytes(numbers)


def _bfloat16(value: float) -> bytes:
    """Little-endian bfloat16: the upper half of a float32."""
    return struct.pack("<f", value)[2:]


def _safetensors(tensors: list[_Tensor]) -> bytes:
    """The safetensors file: header length (8 bytes, little-endian), JSON header, the tensors end to end."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape, data in tensors:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (end, end + len(data))}
        end += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors)


def main() -> int:
    """`python -m tuner.launch.demo_model DIR`: make the model and print its folder."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m tuner.launch.demo_model DIR\n")
        return 2
    try:
        sys.stdout.write(f"{make_demo_model(Path(sys.argv[1]))}\n")
    except TunerError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
