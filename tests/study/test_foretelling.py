"""What a stored study's model says of one more change: real predictions over the trials of a host that is the model with other
rates."""

from dataclasses import replace

import pytest
from modelled_host import Host, setup_of

from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosing import diagnose
from tuner.diagnose.evidence import Evidence
from tuner.diagnose.words import sentences
from tuner.predict.prediction import Calibration
from tuner.predict.step import Rates
from tuner.record.rows import StudyRecord
from tuner.study.foretelling import stored_model
from tuner.study.identity import record_of
from tuner.study.model import ServerModel
from tuner.types import Params, Trial

POINTS: tuple[Params, ...] = (
    {"max_num_seqs": 64, "stream_interval": 1, "enforce_eager": False},
    {"max_num_seqs": 64, "stream_interval": 4, "enforce_eager": True},
    {"max_num_seqs": 128, "stream_interval": 8, "enforce_eager": False},
)
Study = tuple[StudyRecord, ServerModel, list[Trial]]


@pytest.fixture(scope="module")
def study() -> Study:
    """Of a host whose processor is slower than the model's by four fifths."""
    setup = setup_of(workload="chat")
    host = Host(setup, Calibration(rates=replace(Rates(), host=1.8, launch=1.8, front=1.8)))
    model, trials = host.study(POINTS)
    model.learn(trials)
    return record_of(setup), model, trials


def test_a_remedy_gains_about_what_the_study_s_own_model_says(study: Study) -> None:
    record, model, trials = study
    stored = stored_model(record, trials)
    assert stored is not None
    for trial, name, value in ((trials[0], "stream_interval", 4), (trials[1], "enforce_eager", False)):
        settings = {**trial.resolved, **trial.params}
        gain = stored.gains_over(trial)({**settings, name: value})
        own = model.gain(trial.params, {**trial.params, name: value})
        assert own is not None
        assert gain == pytest.approx(own, rel=0.15)  # the study learned from one trial after another


def test_the_gain_is_said_beside_each_finding_s_remedy(study: Study) -> None:
    record, _, trials = study
    stored = stored_model(record, trials)
    assert stored is not None
    seen = Evidence(users=64.0, running_mean=20.0, waiting_mean=0.0, client_cpu=0.1, completed=100.0)
    found = diagnose(seen, trials[0].params, predict=stored.gains_over(trials[0]))
    assert found.first.cause is Cause.API_SERVER
    remedy = next(one for one in found.first.remedies if one.name == "stream_interval")
    assert (remedy.direction, remedy.value) == ("raise", 4)
    assert remedy.gain is not None
    told = f"raise stream_interval to 4 (fewer messages to write; predicted: {remedy.gain:+.0%})"
    assert any(told in sentence for sentence in sentences(found))


def test_what_has_no_formula_or_changes_nothing_is_not_predicted(study: Study) -> None:
    record, _, trials = study
    stored = stored_model(record, trials)
    assert stored is not None
    gain, settings = stored.gains_over(trials[0]), {**trials[0].resolved, **trials[0].params}
    assert gain({**settings, "speculative_config.method": "ngram"}) is None
    assert gain({**settings, "moe_backend": "triton"}) is None
    assert gain({**settings, "quantization": "none of these"}) is None
    assert gain(settings) is None


def test_without_predictions_or_files_there_are_none(study: Study) -> None:
    record, _, trials = study
    assert stored_model(record, [replace(trial, predicted=None) for trial in trials]) is None
    assert stored_model(replace(record, model="/nowhere"), trials) is None
    assert stored_model(replace(record, settings={**record.settings, "workload": None}), trials) is None
