"""What the user can say: every option with its type, its default and its help, once.

Nothing is asked here of a GPU, of vLLM or of a database, nothing is read, and importing it takes no time: a command line is
built of it. It does not know what a command line is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

DEFAULT_MODEL = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
#: What trials are run on: vLLM, a simulation of it, or a file of recorded measurements.
ENGINES = ("vllm", "sim", "replay")
#: How a trial's server comes to be: `vllm serve`, or a fork of a process that has vLLM imported.
STARTS = ("warm", "plain")
#: Whether a search, and the window of a trial, may end before its time.
STOPS = ("auto", "never")
#: Where launches run: on this host, or on the nodes of a Ray cluster.
EXECUTORS = ("local", "ray")
#: Whether engines that share a GPU have NVIDIA's multi-process service beneath them, where the host has it.
MPS = ("auto", "off")
#: Who proposes settings: ours, with the model of a server and without; and Optuna's.
SAMPLERS = ("model", "tpe", "gp", "random", "grid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user can say; every field is a flag, an environment variable TUNER_<NAME>, and a key of --config.

    Beside the type of a field stands its help.
    """

    engine: Annotated[str, "vllm; sim: a simulation of it; replay: recorded measurements."] = "vllm"
    surface: Annotated[Path | None, "The measurements that --engine replay answers from."] = None
    gpu: Annotated[str, "Search space by GPU: auto, cpu, t4, l4, ... (see `tuner spaces`)."] = "auto"
    model: Annotated[str, "Folder or hub name of the model."] = DEFAULT_MODEL
    trials: Annotated[int, "Launches to measure, the defaults included."] = 20
    workload: Annotated[str, "A preset (chat, long-prompt, ...) or a YAML file."] = "chat"
    users: Annotated[int | None, "Concurrent users; default: the workload's."] = None
    request_rate: Annotated[float | None, "Requests a second whatever the server does, instead of users."] = None
    warmup: Annotated[float | None, "Least warm-up in seconds; default: the workload's."] = None
    window: Annotated[float | None, "Least measured seconds; default: the workload's."] = None
    max_window: Annotated[float | None, "Most measured seconds; default: 4 times --window."] = None
    precision: Annotated[
        float | None, "Measure until throughput is known to this share; default: the workload's, 0.02."
    ] = None
    objective: Annotated[
        Sequence[str],
        "throughput, requests, goodput, cost, energy, ttft_p99, tpot_p99, e2e_p99, ... Repeatable: they are traded off.",
    ] = ("throughput",)
    slo: Annotated[Sequence[str], "A limit, e.g. ttft_p99=500ms. Repeatable."] = ()
    price: Annotated[float | None, "Of one GPU for an hour, in any currency; for --objective cost."] = None
    study: Annotated[str | None, "Name; default: gpu-model-workload."] = None
    storage: Annotated[str, "Database: a file (SQLite), or postgresql://..."] = "sqlite:///tuner.db"
    space: Annotated[Path | None, "Your own search space, instead of --gpu's."] = None
    groups: Annotated[str | None, "Groups of parameters to search: NAME,NAME or all; default: see `tuner spaces`."] = (
        None
    )
    force_gpu: Annotated[bool, "Go on although the card is another."] = False
    max_model_len: Annotated[int | None, "Longest prompt plus answer to serve; default: the model's."] = None
    quantized_model: Annotated[
        Sequence[str], "A quantized checkpoint to try too, e.g. awq=PATH_OR_REPO. Repeatable."
    ] = ()
    draft_model: Annotated[str | None, "Folder or hub name of a model that drafts, for speculative decoding."] = None
    engine_arg: Annotated[
        Sequence[str], "A vLLM argument of every trial, e.g. tensor_parallel_size=2. Repeatable."
    ] = ()
    vllm_python: Annotated[str | None, "Python with vLLM; default: found."] = None
    start: Annotated[str, "warm: fork servers from one process that has vLLM imported; plain: vllm serve."] = "warm"
    startup_timeout: Annotated[float, "Seconds a server may take to start."] = 900.0
    trial_timeout: Annotated[float | None, "Seconds a launch may take, its load included."] = None
    executor: Annotated[str, "Where launches run: local, or on the nodes of a ray cluster."] = "local"
    address: Annotated[str | None, "HOST:PORT of the Ray cluster; default: auto, the one that this host is of."] = None
    parallel: Annotated[str, "Launches at once, each on GPUs of its own: a number, or auto for all there are."] = "1"
    wait_for_gpu: Annotated[float, "Seconds to wait for a GPU that others use, before a launch."] = 600.0
    mps: Annotated[
        str, "Of engines that share a GPU, NVIDIA's multi-process service: auto, where it is there; off."
    ] = "auto"
    stop: Annotated[
        str, "auto: end the search, and a trial, when it cannot be worth it any more; never: measure all to the end."
    ] = "auto"
    max_hours: Annotated[float | None, "Hours this run may take; what would not end in time is not begun."] = None
    verify: Annotated[int, "Times to launch finalists and defaults again at the most; 0: not at all."] = 5
    baseline: Annotated[
        Sequence[str], "Hand settings to compare with: vLLM's flags in one word, or a file of them. Repeatable."
    ] = ()
    explain: Annotated[int, "Launches at the most that say what each changed setting brings; 0: none."] = 0
    max_quality_loss: Annotated[
        float, "A finalist that foretells a fixed text worse by more than this share (of the NLL) is refused."
    ] = 0.02
    lossless: Annotated[bool, "Leave at the defaults whatever can change answers."] = False
    quality_data: Annotated[Path | None, "JSONL of your own prompts, messages or texts to check answers with."] = None
    quality_cmd: Annotated[
        str | None, "Your own check of a server's answers; it has TUNER_BASE_URL and TUNER_MODEL."
    ] = None
    quality_timeout: Annotated[float, "Seconds that it may take."] = 600.0
    warm_start: Annotated[str, "An earlier study to learn from: auto, none, or its name."] = "auto"
    sampler: Annotated[
        str, "Who proposes: model (of the server, and what it lacks is learned), gp, tpe, random, grid."
    ] = "model"
    seed: Annotated[int, "Of the sampler and of the prompts."] = 0
    log_dir: Annotated[Path, "Folder of the servers' logs."] = Path("tuner-logs")
    cache_dir: Annotated[Path | None, "Folder of compiled code, kept between trials; default: ~/.cache/tuner."] = None
