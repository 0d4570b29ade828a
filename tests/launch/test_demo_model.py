import hashlib
import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.errors import UsageError
from tuner.launch.demo_model import make_demo_model


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        made = subprocess.run(
            [sys.executable, "-m", "tuner.launch.demo_model", str(tmp_path / seed)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (made.returncode, made.stdout.strip()) == (0, str(tmp_path / seed)), made.stderr
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    assert len(digests(tmp_path / "1")) == 5


def test_making_it_again_changes_nothing(tmp_path: Path) -> None:
    before = digests(make_demo_model(tmp_path / "model"))
    assert digests(make_demo_model(tmp_path / "model")) == before


def test_the_weights_file_is_whole(demo_model: Path) -> None:
    data = (demo_model / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    end = 0
    for tensor in header.values():
        assert tensor["data_offsets"] == [end, end + 2 * math.prod(tensor["shape"])]
        end = tensor["data_offsets"][1]
    assert len(data) == 8 + length + end
    config = json.loads((demo_model / "config.json").read_text())
    assert header["lm_head.weight"]["shape"] == [config["vocab_size"], config["hidden_size"]]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"the demo model cannot be written to .*file/model"):
        make_demo_model(tmp_path / "file" / "model")


_ASK_THE_TOKENIZER = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = json.load(sys.stdin)
chat = [{"role": "user", "content": "bado kali"}]
forced = [*chat, {"role": "assistant", "content": "<think>"}]
answer = {
    "tokens": [len(tokenizer.encode(text)) for text in texts],
    "back": [tokenizer.decode(tokenizer.encode(text)) for text in texts],
    "chat": tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True),
    "forced": tokenizer.apply_chat_template(forced, tokenize=False, continue_final_message=True),
    "end": tokenizer.eos_token_id,
}
json.dump(answer, sys.stdout)
"""


@pytest.mark.engine
def test_one_word_is_one_token_and_any_text_comes_back(engine_python: Path, demo_model: Path) -> None:
    texts = ["bado kali retu", " bado kali retu", "bado\n kali", "Hello, wörld! 日本\n\n<12>"]
    asked = subprocess.run(
        [engine_python, "-c", _ASK_THE_TOKENIZER, demo_model],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(asked.stdout)
    assert answer["back"] == texts
    assert answer["tokens"][:3] == [3, 3, 3]
    assert answer["chat"] == "<|im_start|>user\nbado kali<|im_end|>\n<|im_start|>assistant\n"
    assert answer["forced"] == answer["chat"] + "<think>"
    assert answer["end"] == 2
