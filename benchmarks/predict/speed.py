"""How fast the model itself is: requests that it simulates in a second of CPU, and a prediction under a short load."""

import time
from collections.abc import Iterator
from statistics import median

from points import DATA
from show import verdict

from tuner.predict.prediction import predict
from tuner.predict.shape import read_shape
from tuner.space.files import load_space
from tuner.types import Failed, Lengths, Workload

#: Requests of a short load: what is enough to compare settings.
SHORT = 150
LEAST_A_SECOND, MOST_S = 10_000, 0.060
ROUNDS = 7


def speed() -> Iterator[str]:
    """Of the 1.5B model on an H200, 128 users."""
    shape, gpu = read_shape(str(DATA / "models" / "qwen2-1.5b")), load_space("h200").gpu
    workload = Workload(
        name="128 users",
        api="completions",
        users=128,
        input_tokens=Lengths(low=64, high=448),
        output_tokens=Lengths(low=32, high=224),
    )
    for requests in (3000, SHORT):
        taken = []
        for _ in range(ROUNDS):
            began_s = time.process_time()
            found = predict(shape, gpu, {"max_model_len": 4096}, workload, requests=requests)
            taken.append(time.process_time() - began_s)
            assert not isinstance(found, Failed)
        taken_s = median(taken)
        if requests == SHORT:
            number = f"{1000 * taken_s:.0f} ms with {SHORT} requests in the window and 192 before it"
            yield verdict("a prediction with the short load within 60 ms", taken_s <= MOST_S, number)
        else:
            rate = (requests + 1.5 * 128) / taken_s
            yield verdict("10,000 simulated requests a second of CPU", rate >= LEAST_A_SECOND, f"{rate:,.0f}")
