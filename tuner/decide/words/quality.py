"""What the probes say of a setting in; the same in sentences out. Pure."""

from collections.abc import Iterator

from tuner.decide.contest import Standing
from tuner.decide.harm import Harm, Judged
from tuner.decide.quality import LEVEL, Agreement, Loss, Missing, Rights, Scores
from tuner.decide.verdict import Decision

#: Below it a share of the NLL is rounding.
_LEAST = 0.00005


def harm_text(found: Judged) -> str:
    """All in one sentence, without its subject: `loses quality: ...`."""
    return ": ".join(filter(None, (_head(found), "; ".join((*_told(found), *found.untold)))))


def quality_lines(found: Judged) -> list[str]:
    """A line for each comparison, for `tuner show`."""
    return [f"its quality: it {_head(found)}", *_told(found), *found.untold]


def refused_sentences(found: Decision) -> list[str]:
    """Of the finalists that were refused for what they lose, and that the answer is not about."""
    return [
        f"trial {side.trial.number} is not recommended, for it {harm_text(judged)}"
        for side in found.finalists
        if side.standing is Standing.HARMED
        and side.trial.number != found.verdict.trial
        and (judged := found.quality.get(side.trial.number)) is not None
    ]


_HARMS = {
    Harm.UNHARMED: "loses no more quality than is allowed",
    Harm.OPEN: "was not shown to lose no more quality than is allowed",
    Harm.LOSES: "loses quality",
    Harm.UNCHECKED: "was not checked for what quality it loses",
}


def _head(found: Judged) -> str:
    limit = "" if found.harm is Harm.UNCHECKED else f" (--max-quality-loss {found.limit:g})"
    return f"{_HARMS[found.harm]}{limit}"


def _told(found: Judged) -> Iterator[str]:
    if found.is_wrong:
        yield "--quality-cmd ended as right with the defaults, and as wrong with it"
    if found.missing is not None:
        yield _missing_text(found.missing, found.launches)
    if found.rights is not None:
        yield _rights_text(found.rights)
    if found.scores is not None:
        yield _scores_text(found.scores)
    if found.loss is not None:
        yield _loss_text(found.loss)
    if found.agreement is not None:
        yield _agreement_text(found.agreement, found.usual, found.apart)


def _loss_text(loss: Loss) -> str:
    if max(abs(loss.low), abs(loss.high)) < _LEAST:
        return f"the NLL of a fixed text is the same ({loss.before:.4f} nats a token, {loss.pieces} pieces)"
    seen = (
        f"a loss of {_share(loss.least_seen)} would have been seen" if loss.least_seen > _LEAST else "no noise was seen"
    )
    return (
        f"the NLL of a fixed text is {_signed(loss.loss)} ({loss.before:.4f} to {loss.after:.4f} nats a token; 95 % interval"
        f" {_signed(loss.low)} to {_signed(loss.high)} over {loss.pieces} pieces; {seen})"
    )


def _agreement_text(found: Agreement, usual: Agreement | None, apart: float | None) -> str:
    parted = (
        ""
        if found.first_difference is None
        else f", the others part after {found.first_difference:.0%} of their length"
    )
    text = f"{found.same} of {found.questions} greedy answers are those of the defaults{parted}"
    if usual is not None:
        text += f" (the defaults launched again: {usual.same} of {usual.questions})"
    if apart is not None:
        text += f", {'told apart' if apart <= LEVEL else 'not told apart'} from them (p {apart:.2g})"
    return text


def _missing_text(found: Missing, launches: int) -> str:
    text = f"of {found.asked} questions that the defaults answered, it answered {found.missing} not"
    return f"{text}, and {found.always} in none of {launches} launches" if launches > 1 else text


def _rights_text(found: Rights) -> str:
    word = "told apart" if found.p_value <= LEVEL else "not told apart"
    return (
        f"of {found.answers} answers of --quality-cmd {found.before} were right with the defaults and {found.after} with it"
        f" ({found.lost} lost, {found.won} won, {word}, p {found.p_value:.2g})"
    )


def _scores_text(found: Scores) -> str:
    noise = "" if found.noise is None else f", launches of the same settings differ by {found.noise:.4g}"
    return f"--quality-cmd scores {found.after:.6g} with it and {found.before:.6g} with the defaults{noise}"


def _share(value: float) -> str:
    return f"{value:.2%}"


def _signed(value: float) -> str:
    return "the same" if abs(value) < _LEAST else f"{value:+.2%}"
