"""A space for tests of proposals, its defaults, and a study that is asked and told by hand."""

from collections.abc import Mapping
from dataclasses import replace

from samples import trial

from tuner.decide.objective import OBJECTIVES
from tuner.decide.slo import Slo
from tuner.propose.proposer import Proposer
from tuner.propose.told import Words
from tuner.space.search_space import SearchSpace
from tuner.types import Outcome, Params, Proposal, Trial, Twin

SPACE = SearchSpace.model_validate(
    {
        "gpu": {"names": []},
        "parameters": {
            "max_num_seqs": {"type": "int", "low": 1, "high": 64, "log": True},
            "max_num_batched_tokens": {"type": "int", "low": 16, "high": 4096, "log": True},
            "enable_chunked_prefill": {"type": "categorical", "choices": [True, False]},
            "long_prefill_token_threshold": {
                "type": "categorical",
                "choices": [0, 512],
                "when": {"enable_chunked_prefill": True},
            },
        },
        "rules": [{"require": "max_num_batched_tokens >= max_num_seqs", "because": "vLLM refuses to start otherwise"}],
        "enqueue": [{"max_num_seqs": 16}],
    }
)
DEFAULTS: Params = {
    "max_num_seqs": 128,  # outside the range: trial 0 is still a trial of the study
    "max_num_batched_tokens": 2048,
    "enable_chunked_prefill": True,
    "long_prefill_token_threshold": 0,
}


def space_of(parameters: Mapping[str, object], **more: object) -> SearchSpace:
    return SearchSpace.model_validate({"gpu": {"names": []}, "parameters": parameters, **more})


def words_of(space: SearchSpace = SPACE, slos: tuple[Slo, ...] = (), *objectives: str) -> Words:
    chosen = tuple(OBJECTIVES[name] for name in objectives or ("throughput",))
    return Words(parameters=space.parameters, objectives=chosen, slos=slos)


def ended(proposal: Proposal, outcome: Outcome | Twin, violations: Mapping[str, float] | None = None) -> Trial:
    made = trial(proposal.number, outcome, params=proposal.params, is_default=proposal.is_default)  # type: ignore[arg-type]
    return replace(made, violations=violations or {})


class Asked:
    """A study in which every proposal has an outcome at once."""

    def __init__(self, space: SearchSpace = SPACE, defaults: Params = DEFAULTS, **settings: object) -> None:
        self.notes, self.trials = list[str](), list[Trial]()
        asked = {"seed": 0, "sampler": "tpe", "tell": self.notes.append, "words": words_of(space)} | settings
        self.proposer = Proposer(space, defaults=defaults, **asked)  # type: ignore[arg-type]

    def next(self, wished: Params | None = None) -> Proposal | None:
        return self.proposer.propose(self.trials, wished)

    def take(self, outcome: Outcome | Twin, violations: Mapping[str, float] | None = None) -> Proposal:
        proposal = self.next()
        assert proposal is not None, self.proposer.ended
        self.trials.append(ended(proposal, outcome, violations))
        return proposal
