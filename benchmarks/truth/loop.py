"""Many users on many simulated servers at once: a closed loop's history, step by step. A discrete-event model of its own.

It shares nothing with tuner/predict: each step makes one token for every running sequence and reads a part of the prompts that
wait, and takes a + b * sequences + c * tokens in their contexts + p * tokens read. Replications are rows of arrays and
advance together, each on its own clock.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_IDLE, _WAITING, _READING, _DECODING = range(4)


@dataclass(frozen=True, kw_only=True)
class Server:
    """Seconds of a step: always, per sequence, per token of context, per token of a prompt. `sequences` run at most, with
    `capacity` tokens of KV cache, and a step reads up to `budget` tokens."""

    step_s: float
    sequence_s: float
    context_s: float
    prompt_s: float
    sequences: int = 1 << 20
    capacity: float = np.inf
    budget: int = 2048
    noise: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """What users ask for, uniform and both ends included."""

    prompt: tuple[int, int]
    answer: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class History:
    """After each step (row) of each replication (column): the time, the totals of tokens, ended requests and preemptions since
    the start, the requests that wait, the users without a first token and without a first end, the longest time of an ended
    request, and the tokens in all contexts."""

    time_s: Floats
    tokens: Floats
    ended: Floats
    waiting: Floats
    unanswered: Floats
    unended: Floats
    longest_s: Floats
    context: Floats
    preempted: Floats


def run(
    server: Server, lengths: Lengths, begun: Floats, due_s: Floats, steps: int, rng: np.random.Generator
) -> History:
    """`begun` has for each replication and user the first request's (prompt, answer), `due_s` when it is sent."""
    loop = _Loop(server, lengths, begun, due_s, rng)
    rows = [loop.step() for _ in range(steps)]
    return History(**{name: np.array([row[name] for row in rows]) for name in rows[0]})


class _Loop:
    def __init__(
        self, server: Server, lengths: Lengths, begun: Floats, due_s: Floats, rng: np.random.Generator
    ) -> None:
        self._server, self._lengths, self._rng = server, lengths, rng
        shape = due_s.shape
        self._due_s, self._phase = due_s.copy(), np.zeros(shape, np.int8)
        self._order_s = due_s + 1e-9 * np.arange(shape[1])
        self._todo, self._left = begun[..., 0].copy(), begun[..., 1].copy()
        self._context = np.zeros(shape)
        self._unanswered, self._unended = np.ones(shape, bool), np.ones(shape, bool)
        self._t = np.zeros(shape[0])
        self._tokens, self._ended, self._longest_s, self._preempted = (np.zeros(shape[0]) for _ in range(4))

    def step(self) -> dict[str, Floats]:
        self._phase[(self._phase == _IDLE) & (self._due_s <= self._t[:, None])] = _WAITING
        self._preempt()
        self._admit()
        read = self._read()
        made = self._phase == _DECODING
        self._pass(made, read)
        self._take(made)
        return self._row()

    def _preempt(self) -> None:
        """The sequences that came last go back to the queue's front while the next tokens have no room."""
        if np.isinf(self._server.capacity):
            return
        while True:
            running = self._phase >= _READING
            over = np.where(running, self._context + 1, 0).sum(1) > self._server.capacity
            if not over.any():
                return
            last = np.where(running, self._order_s, -np.inf).argmax(1)[over]
            rows = np.nonzero(over)[0]
            self._phase[rows, last] = _WAITING
            self._todo[rows, last] += self._context[rows, last]
            self._context[rows, last] = 0
            self._preempted[rows] += 1

    def _admit(self) -> None:
        waiting = self._phase == _WAITING
        slots = self._server.sequences - (self._phase >= _READING).sum(1)
        if not (waiting.any(1) & (slots > 0)).any():
            return
        by_order = np.where(waiting, self._order_s, np.inf).argsort(1)
        need = np.take_along_axis(np.where(waiting, self._todo + 1, 0), by_order, 1).cumsum(1)
        held = np.where(self._phase >= _READING, self._context + self._todo + 1, 0).sum(1, keepdims=True)
        fits = (np.arange(waiting.shape[1]) < slots[:, None]) & (held + need <= self._server.capacity)
        admitted = np.zeros_like(waiting)
        np.put_along_axis(admitted, by_order, fits, 1)
        self._phase[admitted & waiting] = _READING

    def _read(self) -> Floats:
        """Tokens of prompts read in this step; a prompt that is read makes its first token in it."""
        reading = self._phase == _READING
        if not reading.any():
            return np.zeros(len(self._t))
        by_order = np.where(reading, self._order_s, np.inf).argsort(1)
        todo = np.take_along_axis(np.where(reading, self._todo, 0), by_order, 1)
        before = todo.cumsum(1) - todo
        budget = self._server.budget - (self._phase == _DECODING).sum(1, keepdims=True)
        taken = np.zeros_like(todo)
        np.put_along_axis(taken, by_order, np.clip(budget - before, 0, todo), 1)
        self._todo -= taken
        self._context += taken
        self._phase[reading & (self._todo <= 0)] = _DECODING
        return taken.sum(1)

    def _pass(self, made: NDArray[np.bool_], read: Floats) -> None:
        s, count = self._server, made.sum(1)
        context = np.where(made, self._context, 0).sum(1)
        step_s = s.step_s + s.sequence_s * count + s.context_s * context + s.prompt_s * read
        step_s = step_s * np.exp(s.noise * self._rng.standard_normal(len(self._t)))
        nothing = (count == 0) & (read == 0)
        self._t += np.where(nothing, 0.005, step_s)
        self._tokens += count

    def _take(self, made: NDArray[np.bool_]) -> None:
        self._left -= made
        self._context += made
        self._unanswered &= ~made
        done = made & (self._left <= 0)
        if not done.any():
            return
        rows, _ = np.nonzero(done)
        took_s = self._t[:, None] - self._due_s
        self._longest_s = np.maximum(self._longest_s, np.where(done, took_s, 0).max(1))
        self._unended &= ~done
        self._ended += done.sum(1)
        (a, b), (c, d) = self._lengths.prompt, self._lengths.answer
        self._todo[done] = self._rng.integers(a, b + 1, len(rows))
        self._left[done] = self._rng.integers(c, d + 1, len(rows))
        self._context[done] = 0
        self._due_s[done] = self._order_s[done] = self._t[rows]
        self._phase[done] = _WAITING

    def _row(self) -> dict[str, Floats]:
        return {
            "time_s": self._t.copy(),
            "tokens": self._tokens.copy(),
            "ended": self._ended.copy(),
            "waiting": ((self._phase == _WAITING) | (self._phase == _READING)).sum(1).astype(float),
            "unanswered": self._unanswered.sum(1).astype(float),
            "unended": self._unended.sum(1).astype(float),
            "longest_s": self._longest_s.copy(),
            "context": self._context.sum(1),
            "preempted": self._preempted.copy(),
        }
