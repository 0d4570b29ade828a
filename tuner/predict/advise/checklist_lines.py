"""Facts in; the lines of the deployment checklist that follow from model, card and load out: limits, lengths, bits. Pure."""

from dataclasses import replace

from tuner.decide.gain import LEAST_GAIN
from tuner.predict.advise.case import Case
from tuner.predict.advise.checklist import Facts, Level, Line, line, ok, unknown, warning, wrong
from tuner.predict.error import ERROR
from tuner.predict.memory import Memory
from tuner.predict.prediction import Prediction
from tuner.predict.settings import Settings
from tuner.space import gpus
from tuner.space.parameters import Categorical
from tuner.types import Failed, Params
from tuner.workload.presets import max_tokens

#: A quantization that vLLM makes of weights as they are stored, best first; and one that needs another checkpoint.
_OF_WEIGHTS, _FOUR_BITS = ("fp8_per_tensor", "fp8_per_channel"), "awq"
#: From how many times the longest request on max_model_len is worth a word.
_LONG = 4
_ROUND = 256


def batching(facts: Facts) -> Line:
    """Whether requests are computed together."""
    name, seen, settings = "continuous batching", facts.seen, settings_of(facts)
    if _limit(facts) == 1:
        return wrong(name, "max_num_seqs is 1: requests run one after another", "leave --max-num-seqs out, or raise it")
    if seen is None:
        if settings is None:
            return unknown(name, f"vLLM always does it; how many requests at once: {facts.why_not}")
        return _limited(facts, settings.max_num_seqs * settings.copies, "predicted: vLLM's default on this card")
    if seen.running_max is None:
        return unknown(name, "the server has no vLLM /metrics, which tells how many requests run")
    together = f"{seen.running_max:.0f} of {seen.sent} requests that were sent at once ran together"
    if seen.running_max <= 1:
        return warning(
            name,
            f"no more than {together}",
            "look at --max-num-seqs; answers that end at once are not seen together either",
        )
    if seen.most_at_once is None:
        return ok(name, together)
    return _limited(facts, seen.most_at_once, f"{together}, by its command line")


def _limited(facts: Facts, limit: int, how: str) -> Line:
    """Whether the users find room."""
    name, users = "continuous batching", facts.workload.users
    if users is not None and users > limit:
        return warning(
            name,
            f"of {users:,} users {limit:,} run at once, the others wait ({how})",
            "`tuner plan` says whether a larger --max-num-seqs pays",
        )
    return ok(name, f"up to {limit:,} requests at once ({how})")


def quantization(facts: Facts) -> Line:
    """Whether fewer bits would help, by prediction."""
    name, case = "quantized weights", facts.case
    if case is None:
        return unknown(name, facts.why_not)
    if case.shape.checkpoint_quantization is not None:
        return ok(name, f"the checkpoint is quantized: {case.shape.checkpoint_quantization}")
    if not facts.is_predicted:
        return unknown(name, facts.why_not)
    case, shorter = _short_enough(case)
    limit = facts.seen.max_num_seqs if facts.seen else None
    own: Params = {"max_num_seqs": limit} if limit is not None else {}
    how = f"with its max_num_seqs {limit}" if own else "with vLLM's defaults"
    plain, tried = case.predict(own), _quantized(case, own)
    started = {how: found for how, found in tried.items() if isinstance(found, Prediction)}
    if isinstance(plain, Failed):
        remedy = f"with {' or '.join(started)} it would{shorter}" if started else "`tuner plan` says what would"
        nor = "" if started else f", nor with {' or '.join(tried)}" if tried else ""
        return wrong(
            name, f"predicted: as it is stored it does not start{shorter}{nor}: {first(plain.message)}", remedy
        )
    gains = {how: case.objective.gain(case.value(found), case.value(plain)) or 0.0 for how, found in started.items()}
    if not gains:
        return ok(name, f"{case.card} runs no quantization that is predicted")
    best = max(gains, key=lambda how: gains[how])
    what = ", ".join(f"{how} {gain:+.0%}" for how, gain in gains.items())
    evidence = f"predicted {how}{shorter}, in {case.objective.name}: {what}"
    if gains[best] <= max(LEAST_GAIN, ERROR.output_throughput or 0.0):
        return ok(name, f"{evidence}: within what predictions are off, so not needed")
    return warning(name, evidence, f"{best} would help; it changes answers: measure both speed and answers first")


def _short_enough(case: Case) -> tuple[Case, str]:
    """With a max_model_len of the longest request where a start with the model's own does not fit, and words for it."""
    if case.why_not({}) is None:
        return case, ""
    length = -(-case.longest_tokens // _ROUND) * _ROUND
    return replace(case, space=case.space.with_fixed({"max_model_len": length})), f" (with --max-model-len {length})"


def _quantized(case: Case, own: Params) -> dict[str, Prediction | Failed]:
    choices = case.space.parameters.get("quantization")
    offered = choices.choices if isinstance(choices, Categorical) else ()
    found: dict[str, Prediction | Failed] = {}
    for method in _OF_WEIGHTS:
        if method in offered:
            found[method] = case.predict({**own, "quantization": method})
            break
    if gpus.why_not(case.space.gpu.capability, "quantization", _FOUR_BITS) is None:
        shape = replace(case.shape, checkpoint_quantization=_FOUR_BITS, stored_bytes=None)
        found["a checkpoint of 4 bits"] = replace(case, shape=shape).predict(own)
    return found


def length(facts: Facts) -> Line:
    """Whether the longest request fits max_model_len, and what too much of that costs."""
    name, settings, longest = "max_model_len", settings_of(facts), max_tokens(facts.workload)
    positions = facts.case.shape.max_positions if facts.case else None
    limit = (facts.seen.max_model_len if facts.seen else None) or (settings.max_model_len if settings else positions)
    how = "as /v1/models says" if facts.seen and facts.seen.max_model_len else "the model's own length"
    if limit is None:
        return unknown(name, facts.why_not if facts.seen is None else "/v1/models does not tell it")
    if longest is None:
        return unknown(name, f"{limit:,} ({how}); how long the dataset's prompts are only its tokenizer knows")
    if longest > limit:
        return wrong(
            name,
            f"{limit:,} ({how}) is less than the {longest:,} tokens of the longest"
            f" request of workload {facts.workload.name}: such are refused",
            "raise --max-model-len",
        )
    said = f"{limit:,} ({how}) holds the longest request, {longest:,} tokens"
    if positions is not None and limit > positions:
        return warning(
            name,
            f"{limit:,} ({how}) is more than the {positions:,} positions that the model was made for",
            f"--max-model-len {positions}",
        )
    memory = memory_of(facts) if facts.seen is None else None
    if memory is not None and memory.failed is not None and 0 < memory.largest_length < limit:
        fits = memory.largest_length // _ROUND * _ROUND
        level = Level.WRONG if memory.at_best is not None else Level.WARNING
        return line(
            name,
            level,
            f"{said}, but predicted: one request of {limit:,} tokens does not fit the KV"
            " cache, so vLLM refuses to start",
            f"--max-model-len {max(fits, longest)}",
        )
    if limit >= _LONG * longest:
        said += "; the rest costs nothing until somebody asks for it: the KV cache is paged, and a start needs room for it once"
    return ok(name, said)


def cache(facts: Facts) -> Line:
    """Whether what runs at once fits the KV cache."""
    name, seen, case = "KV cache", facts.seen, facts.case
    memory, settings = (memory_of(facts), settings_of(facts)) if seen is None else (None, None)
    tokens = seen.kv_cache_tokens if seen else memory.kv_cache_tokens * settings.copies if memory and settings else None
    how = "of /metrics" if seen else "predicted"
    if memory is not None and memory.failed is not None:
        return line(
            name,
            Level.WRONG if memory.at_best else Level.WARNING,
            f"predicted: {first(memory.failed.message)}",
            "`tuner plan` says what would start",
        )
    if not tokens:
        return unknown(name, facts.why_not if seen is None else "the server's /metrics do not tell its size")
    if case is None or facts.workload.dataset is not None:
        return unknown(
            name, f"{tokens:,} tokens ({how}); how long requests are is not known: {facts.why_not or 'a dataset'}"
        )
    atonce = [number for number in (_limit(facts), facts.workload.users) if number is not None]
    if not atonce:
        return unknown(name, f"{tokens:,} tokens ({how}); how many requests may run at once is not known")
    mean, running = case.mean_tokens, min(atonce)
    need = running * mean
    numbers = f"{tokens:,} tokens ({how}), {running:,} requests of {mean:,.0f} tokens on the mean are {need:,.0f}"
    if need > tokens:
        return warning(
            name,
            f"{numbers}: {int(tokens / mean):,} run, the others wait or are preempted",
            "--kv-cache-dtype fp8, more --gpu-memory-utilization, or fewer requests",
        )
    return ok(name, f"{numbers}: {need / tokens:.0%}")


def _limit(facts: Facts) -> int | None:
    """max_num_seqs of all engines: of the server's command line, or vLLM's default where that is what runs, or would."""
    if facts.seen is not None and (facts.seen.max_num_seqs is not None or not facts.seen.has_process):
        return facts.seen.most_at_once
    settings = settings_of(facts)
    return settings.max_num_seqs * settings.copies if settings else None


def settings_of(facts: Facts) -> Settings | None:
    """vLLM's defaults for this model and card."""
    if facts.case is None or not facts.is_predicted:
        return None
    found = facts.case.settings({})
    return None if isinstance(found, Failed) else found


def memory_of(facts: Facts) -> Memory | None:
    if facts.case is None or not facts.is_predicted:
        return None
    found = facts.case.memory({})
    return None if isinstance(found, Failed) else found


def first(message: str) -> str:
    """The first sentence of what vLLM would say."""
    return message.split(". ")[0].rstrip(".")
