"""Servers whose long-run throughput is known, many at a time: what their clients see out. Nothing here waits or is measured.

A closed loop's server steps with its whole batch: a step takes `step_s` and `prompt_s` for each prompt token that is new in it,
times lognormal noise, and gives every user a token. It runs until it is stationary before its clock starts.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TICK_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A closed loop of users, all of whom fit into the batch."""

    users: int
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    step_s: float
    prompt_s: float
    noise: float = 0.03

    @property
    def rate(self) -> float:
        """Output tokens a second in the long run: users over a step's mean time (renewal reward)."""
        prompts = self.users * sum(self.inputs) / sum(self.outputs)
        return self.users / (self.step_s + self.prompt_s * prompts) / float(np.exp(self.noise**2 / 2))


#: `chat` and `newton-32` as a T4 with a model of 1.5B serves them, and `chat` where requests take three times as long.
CHAT = Server(users=64, inputs=(64, 448), outputs=(32, 224), step_s=0.0172, prompt_s=0.00005)
SLOW_CHAT = replace(CHAT, step_s=0.05, prompt_s=0.0002)
NEWTON = Server(users=32, inputs=(64, 96), outputs=(128, 128), step_s=0.0148, prompt_s=0.00003)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the client of one server sees: by tick, output tokens and prompt tokens of first chunks; and a row for each request
    that ended, in that order: due, first chunk, last chunk, tokens. Seconds from the window's start."""

    tokens: Floats
    prompts: Floats
    requests: Floats


def closed(server: Server, runs: int, length_s: float, seed: int) -> list[Seen]:
    """So many runs of a server, seen for `length_s`."""
    random, shape = np.random.default_rng(seed), (runs, server.users)
    lengths = random.integers(server.outputs[0], server.outputs[1] + 1, shape)
    left, due, first = random.integers(1, lengths + 1), np.zeros(shape), np.full(shape, np.nan)
    prompts, now = np.zeros(shape), np.zeros(runs)
    warm = 8 * sum(server.outputs) // 2
    times, read, ended = [], [], []
    for step in range(10**9):
        new = prompts.sum(axis=1)
        if step == warm:
            due, first, now = due - now[:, None], first - now[:, None], np.zeros(runs)
        now = now + (server.step_s + server.prompt_s * new) * np.exp(server.noise * random.normal(size=runs))
        first = np.where(prompts > 0, now[:, None], first)
        left -= 1
        who = np.nonzero(left == 0)
        if step >= warm:
            times.append(now)
            read.append(new)
            ended.append(np.stack([who[0], due[who], first[who], now[who[0]], lengths[who]], axis=1))
            if step % 50 == 0 and now.min() > length_s + 1:
                break
        prompts[:] = 0
        prompts[who] = random.integers(server.inputs[0], server.inputs[1] + 1, len(who[0]))
        lengths[who] = left[who] = random.integers(server.outputs[0], server.outputs[1] + 1, len(who[0]))
        due[who] = now[who[0]]
    steps, new_tokens, rows = np.array(times).T, np.array(read).T, np.concatenate(ended)
    return [_seen(server, steps[run], new_tokens[run], rows[rows[:, 0] == run, 1:], length_s) for run in range(runs)]


def _seen(server: Server, steps: Floats, new_tokens: Floats, requests: Floats, length_s: float) -> Seen:
    edges = np.arange(0, length_s + TICK_S / 2, TICK_S)
    at = np.searchsorted(steps, edges)
    read = np.concatenate([[0.0], np.cumsum(new_tokens)])
    return Seen(tokens=server.users * np.diff(at).astype(np.float64), prompts=np.diff(read[at]), requests=requests)


def opened(rate: float, prefill_s: float, token_s: float, length_s: float, random: np.random.Generator) -> Seen:
    """Poisson arrivals at a server that reads one prompt after another (M/D/1) and then gives each request its tokens evenly,
    32 to 224 of them; the clock starts when it is stationary."""
    before_s = 60.0
    gaps = random.exponential(1 / rate, int((before_s + length_s) * rate * 1.5))
    due = np.cumsum(gaps) - before_s
    first = due + waits(gaps, prefill_s) + prefill_s
    tokens = random.integers(32, 225, due.size)
    rows = np.stack([due, first, first + (tokens - 1) * token_s, tokens], axis=1)
    rows = rows[(rows[:, 2] > 0) & (due < length_s)]
    return Seen(tokens=np.empty(0), prompts=np.empty(0), requests=rows[np.argsort(rows[:, 2])])


def waits(gaps: Floats, service_s: float) -> Floats:
    """How long each arrival waits for those before it, from the gaps before each (Lindley, 1952)."""
    walk = np.cumsum(np.concatenate([[0.0], service_s - gaps[1:]]))
    return np.asarray(walk - np.minimum.accumulate(np.minimum(walk, 0.0)))
