"""`--gpu t4,l4`, or `--gpu auto` on a Ray cluster, in; the card models that are tuned, and the options of a study on each, out.

All that can be known to be wrong of any of the studies is found before one of them begins. It starts nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from tuner.errors import RunError, UsageError, choose
from tuner.space.files import load_space, shipped_spaces, space_for
from tuner.study.checks import check, model_named, workload_of
from tuner.study.engines import sought_by
from tuner.study.options import Options
from tuner.study.setup import choose_space, study_name

AUTO = "auto"
CPU = "cpu"
#: What is of one card model: the option's field, and why.
_OF_ONE_CARD = {
    "space": "a search space is that of one card",
    "price": "cards of different models cost differently",
    "force_gpu": "each study runs on the cards that it names",
}


def card_models(options: Options, tell: Callable[[str], None]) -> tuple[str, ...]:
    """The search spaces of the studies that one command runs, each once; one for a usual study. `tell` is told of cards that
    are left out. Raises UsageError; RunError where a cluster has no card that can be tuned."""
    if "," in options.gpu:
        return _named(options)
    is_open = options.gpu == AUTO and options.space is None
    if not (is_open and options.executor == "ray" and options.engine == "vllm"):
        return (options.gpu,)
    check(options)
    return _of_the_cluster(options, tell)


def studies_on(options: Options, cards: Sequence[str]) -> tuple[Options, ...]:
    """The options of a study on each card, with its name. Raises UsageError for what is wrong of any."""
    for field, why in _OF_ONE_CARD.items():
        if getattr(options, field) not in (None, False):
            raise UsageError(
                f"--{field.replace('_', '-')} with several cards ({', '.join(cards)}): {why}: run one study a card"
            )
    found = tuple(_on(options, card) for card in cards)
    for one in found:
        check(one)
    return found


def reach(options: Options) -> None:
    """Say once, and not for each study, where the cluster cannot be used. Raises UsageError, RunError."""
    from tuner.execute.ray_connection import AUTO as ANY  # an extra
    from tuner.execute.ray_connection import connection

    with connection(options.address or ANY):
        return


def _named(options: Options) -> tuple[str, ...]:
    said = f"--gpu {options.gpu}"
    if options.executor != "ray":
        raise UsageError(
            f"{said}: several cards are tuned on a Ray cluster: give --executor ray, too, or name one card"
        )
    names = [name.strip() for name in options.gpu.split(",")]
    for name in names:
        if not name:
            raise UsageError(f"{said}: expected names of cards, such as t4,l4")
        if name in (CPU, AUTO):
            raise UsageError(f"{said}: {name} is no card, and stands alone: leave it out, or run it by itself")
        if name not in (cards := [known for known in shipped_spaces() if known != CPU]):
            raise UsageError(f"{said}: there is no search space {name!r}{choose(name, cards)}")
        if names.count(name) > 1:
            raise UsageError(f"{said}: {name} is named twice: leave one of them out")
    return tuple(names)


def _on(options: Options, card: str) -> Options:
    """Its study is named by its space, or by the user and its space."""
    one = replace(options, gpu=card)
    space = choose_space(replace(one, force_gpu=True), ())
    name = (
        f"{options.study}-{card}"
        if options.study
        else study_name(one, space, model_named(options.model), workload_of(one))
    )
    return replace(one, study=name)


def _of_the_cluster(options: Options, tell: Callable[[str], None]) -> tuple[str, ...]:
    from tuner.execute.ray_connection import AUTO as ANY  # an extra
    from tuner.execute.ray_connection import connection
    from tuner.execute.ray_nodes import cards_there

    every = tuple(name for space in shipped_spaces() for name in load_space(space).gpu.names)
    with connection(options.address or ANY) as ray:
        names, unfit = cards_there(ray, sought_by(options, every))
    spaces = {name: _space_named(name) for name in names}
    left_out = [
        *unfit,
        *(
            f"{name} is left out: there is no search space for it: give one with --space FILE, in a study by itself"
            for name, space in spaces.items()
            if space is None
        ),
    ]
    for text in left_out:
        tell(text)
    found = tuple(dict.fromkeys(space for space in spaces.values() if space is not None))
    if not found and left_out:
        raise RunError(f"no card of the Ray cluster can be tuned: {'; '.join(left_out)}")
    return found or (CPU,)


def _space_named(card: str) -> str | None:
    try:
        return space_for(card).name
    except UsageError:
        return None
