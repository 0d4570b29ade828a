"""Runs inside vLLM's interpreter, for about a second. Nothing in; how long each turn of what vLLM's processes do beside the GPU
took out, as one line of JSON, {"python": [seconds, ...], ...}: seconds of the work once, where a turn does it more often.

`python`: calls, attributes, dicts and lists, as a scheduler's. `text`: JSON and strings, as an API server's. `memory`: reads
that a processor's caches help little. `wake`: one thread wakes another through a pipe and back. The turns alternate, so that a
clock that changes within the second is seen by each kind. Constants of the model of a server are relative to what this very
work took (tuner/predict/host.py): whoever changes it has to measure them again. Standard library only; run with `python -I -S`.
"""

import json
import os
import sys
import threading
import time

_TURNS = 16
_MEMORY_TURNS = 4
#: How often the work is done in a turn. It takes some 25 ms, for on a core that others use, too, what is shorter than the
#: kernel's slices of time may lie wholly in one, and looks as if the core was free.
_REPEATS = {"python": 4, "text": 6, "wake": 1}
_PLACES = 1 << 19


class _Request:
    __slots__ = ("computed", "name", "tokens")

    def __init__(self, name: str, tokens: int) -> None:
        self.name, self.tokens, self.computed = name, tokens, 0

    def left(self) -> int:
        return self.tokens - self.computed


def python_s() -> float:
    """60 steps of a scheduler with 256 requests."""
    requests = {str(number): _Request(str(number), 100 + number) for number in range(256)}
    began_s = time.perf_counter()
    for _ in range(60):
        scheduled = {}
        budget = 8192
        for name, request in requests.items():
            tokens = min(1, request.left(), budget)
            if tokens > 0:
                scheduled[name] = tokens
                budget -= tokens
        outputs = []
        for name, tokens in scheduled.items():
            request = requests[name]
            request.computed += tokens
            outputs.append((name, [request.computed], request.left() == 0))
    return time.perf_counter() - began_s


def text_s() -> float:
    """600 chunks of a stream."""
    began_s = time.perf_counter()
    for number in range(600):
        chunk = {
            "id": f"cmpl-{number}",
            "object": "text_completion",
            "created": 1700000000,
            "model": "a/model",
            "choices": [{"index": 0, "text": f" token {number}", "logprobs": None, "finish_reason": None}],
        }
        text = f"data: {json.dumps(chunk)}\n\n".encode()
        json.loads(text[6:])
    return time.perf_counter() - began_s


def memory_s(following: list[int]) -> float:
    """200,000 reads of objects spread over some 20 MB, each where the last one points."""
    began_s = time.perf_counter()
    place = 0
    for _ in range(200_000):
        place = following[place]
    return time.perf_counter() - began_s


def wake_s() -> float:
    """400 times to another thread and back."""
    there, back = os.pipe(), os.pipe()

    def answer() -> None:
        for _ in range(400):
            os.read(there[0], 1)
            os.write(back[1], b"1")

    thread = threading.Thread(target=answer)
    thread.start()
    began_s = time.perf_counter()
    for _ in range(400):
        os.write(there[1], b"1")
        os.read(back[0], 1)
    taken_s = time.perf_counter() - began_s
    thread.join()
    for descriptor in (*there, *back):
        os.close(descriptor)
    return taken_s


def main() -> None:
    kinds = {"python": python_s, "text": text_s, "wake": wake_s}
    turns: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(_TURNS):
        for name, work in kinds.items():
            repeats = _REPEATS[name]
            turns[name].append(sum(work() for _ in range(repeats)) / repeats)
        if turn == _TURNS // 2:
            # an odd step and a factor of 4n + 1 visit every place of a power of two
            following = [(place * 5 + 245_491) % _PLACES for place in range(_PLACES)]
            turns["memory"] = [memory_s(following) for _ in range(_MEMORY_TURNS)]
            del following
    version = ".".join(map(str, sys.version_info[:2]))
    json.dump({**turns, "python_version": version}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
