"""How fast a host is in, the rates of a server on it out. Pure.

The constants of the processes around the GPU (`Rates`) hold for the hosts that they were fitted on: H200 hosts with Intel
Xeons, vLLM 0.25.1 in Python 3.12. What the ruler takes there is `REFERENCE`; on another host they are longer by as much as the
ruler is: `host` and `launch`, the times of EngineCore, as its `python` work, `front`, that of API servers, as its `text` work.
The ruler runs in vLLM's interpreter, so that the ratio has in it what another version of Python changes: that is meant.
Nothing is said of the GPU's kernels, or of several processes that share the processor's cores; `memory_s` and `wake_s` are kept
and scale nothing. The first launches tell more than the ruler (tuner.predict.calibrate).
"""

from dataclasses import replace

from tuner.predict.step import Rates
from tuner.types import Fingerprint, HostSpeed

#: Seen on such a host once it had been up for some minutes: medians of seven single turns, which lie some 4 % above the fastest
#: that `HostSpeed` has. In the minutes after its boot the same took up to twice as long. An H100 host was as fast within 5 %.
REFERENCE = HostSpeed(python_s=0.0066, text_s=0.0043, memory_s=0.06, wake_s=0.006, spread=1.0, python_version="3.12")


def rates_of(where: Fingerprint) -> Rates:
    """On the host of a study, as engines share its GPUs."""
    return rates_on(where.host_speed, mps=where.mps)


def rates_on(host: HostSpeed | None, rates: Rates | None = None, *, mps: bool = False) -> Rates:
    """`rates` (as they were published without) of the reference host for this one; the same where it is not known. With `mps`
    engines that share a GPU do so at once."""
    known = rates or Rates()
    if mps:
        known = replace(known, shared=known.shared_at_once)
    if host is None:
        return known
    python, text = host.python_s / REFERENCE.python_s, host.text_s / REFERENCE.text_s
    return replace(known, host=known.host * python, launch=known.launch * python, front=known.front * text)
