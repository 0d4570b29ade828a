"""Facts in; the lines of the deployment checklist about a server that runs out, and the whole list in its order. Pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from tuner.predict.advise.checklist import NO_URL, Facts, Level, Line, line, ok, unknown, warning
from tuner.predict.advise.checklist_lines import batching, cache, length, quantization, settings_of

#: Addresses on which a server is reached from its own machine alone.
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _streaming(facts: Facts) -> Line:
    if facts.seen is None:
        return unknown("streaming", NO_URL)
    level, evidence, remedy = facts.seen.streaming
    return line("streaming", level, evidence, remedy)


def _stopping(facts: Facts) -> Line:
    name, files = "stop conditions", facts.files
    if facts.seen is not None and facts.seen.stopping[0] is not Level.UNKNOWN:
        level, evidence, remedy = facts.seen.stopping
        known = f"; the model's folder has {_ids(files.end_ids)} ({files.source})" if files and files.end_ids else ""
        return line(name, level, evidence + known, remedy)
    if files is None:
        return unknown(
            name, f"{NO_URL}, and the model's folder is not here" if facts.seen is None else facts.seen.stopping[1]
        )
    if not files.end_ids:
        return warning(
            name,
            "neither generation_config.json nor config.json has an eos_token_id",
            "add it: without one answers end at max_tokens only",
        )
    if not files.has_template:
        return warning(
            name,
            f"{_ids(files.end_ids)} ({files.source}), but no chat template: a base model seldom says its end",
            "--chat-template, or stop strings in the requests",
        )
    return ok(name, f"{_ids(files.end_ids)} ({files.source}); not tried: {NO_URL}")


def _ids(ids: tuple[int, ...]) -> str:
    return f"eos_token_id {', '.join(map(str, ids))}"


def _tested(facts: Facts) -> Line:
    name, studies = "load-tested", facts.studies
    if studies is None:
        return unknown(name, facts.database)
    if not studies:
        return warning(
            name,
            f"no study of this model and card in {facts.database}",
            "`tuner optimize`, or `tuner bench URL` for the settings it has",
        )
    latest = max(
        studies, key=lambda one: (one.is_finished, one.launches, one.ended_at or datetime.min.replace(tzinfo=UTC))
    )
    age = f", {_age(facts.now, latest.ended_at)} old" if latest.ended_at else ""
    verified = f"verified by {latest.launches} launches" if latest.launches else "not verified"
    evidence = f"study {latest.name}{age}: {latest.answer}, {verified}"
    if latest.is_finished and latest.launches:
        return ok(name, evidence)
    state = evidence if latest.is_finished else f"{evidence}; it is not finished"
    return warning(name, state, "run the same command again")


def _age(now: datetime, then: datetime) -> str:
    days = max(0, (now - then).days)
    return f"{days} days" if days != 1 else "1 day"


def _reach(facts: Facts) -> Line:
    name, seen = "address and key", facts.seen
    if seen is None:
        return unknown(name, NO_URL)
    key = {True: "it asks for a key", False: "it asks for no key", None: "whether it asks for a key is not known"}[
        seen.needs_key
    ]
    if seen.is_here and seen.address in _LOOPBACK:
        return ok(name, f"it listens on {seen.address}, for this machine alone; {key}")
    if seen.is_here and seen.address is None:
        return unknown(name, f"its process is not to be seen here, so where it listens is not known; {key}")
    where = f"it listens on {seen.address}" if seen.is_here else "it is reached from another machine"
    if seen.needs_key is None:
        return unknown(name, f"{where}; {key}")
    if not seen.needs_key:
        return warning(
            name, f"{where}, and {key}: whoever reaches it can use it", "--host 127.0.0.1, --api-key, or a firewall"
        )
    if not seen.is_here and not seen.is_secure:
        return warning(name, f"{where} by http, and {key}: it is sent in plain text", "put TLS before it")
    return ok(name, f"{where}; {key}")


def _graphs(facts: Facts) -> Line:
    name, seen = "CUDA graphs", facts.seen
    if facts.is_cpu:
        return ok(name, "the CPU engine has none")
    if seen is None:
        settings = settings_of(facts)
        if settings is None:
            return unknown(name, f"{NO_URL}, and {facts.why_not}")
        return ok(name, f"predicted: vLLM's default is {settings.cudagraph_mode}")
    if seen.is_eager:
        return warning(
            name,
            "its command line has --enforce-eager: each step launches its kernels one by one",
            "leave --enforce-eager out, unless memory is what lacks",
        )
    if seen.has_process and seen.is_eager is False:
        return ok(name, "its command line does not turn them off")
    return unknown(name, "/metrics do not tell, and its command line is not to be seen here")


def _prefixes(facts: Facts) -> Line:
    name, seen, workload = "prefix caching", facts.seen, facts.workload
    shares = workload.shared_prefix is not None or workload.turns is not None or workload.system_prompt is not None
    use = f"prompts of workload {workload.name} {'begin alike' if shares else 'share nothing but the template'}"
    if seen is None:
        settings = settings_of(facts)
        if settings is None:
            return unknown(name, f"{NO_URL}, and {facts.why_not}")
        return ok(name, f"predicted: on by default; {use}")
    if seen.prefix_caching is None:
        return unknown(name, "the server does not tell it in /metrics")
    if seen.prefix_caching:
        hits = f", {seen.hits:.0%} of the prompt tokens so far came from it" if seen.hits is not None else ""
        return ok(name, f"on{hits}; {use}")
    level = Level.WARNING if shares else Level.OK
    return line(name, level, f"off; {use}", "--enable-prefix-caching" if shares else "")


#: Each line by its name, in their order.
LINES: Mapping[str, Callable[[Facts], Line]] = {
    "continuous batching": batching,
    "quantized weights": quantization,
    "max_model_len": length,
    "KV cache": cache,
    "streaming": _streaming,
    "stop conditions": _stopping,
    "load-tested": _tested,
    "address and key": _reach,
    "CUDA graphs": _graphs,
    "prefix caching": _prefixes,
}


def checklist(facts: Facts) -> list[Line]:
    """All lines, always the same ones in the same order."""
    return [line_of(facts) for line_of in LINES.values()]
