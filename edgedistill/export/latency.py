"""Interleaved timing of model files on this CPU."""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgedistill.export.session import open_session
from edgedistill.runtime.contract import INPUTS


def interleaved(
    models: Mapping[str, bytes],
    pixels: NDArray[np.uint8],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, NDArray[np.float64]]:
    """Seconds of one run on one thread, float64 [rounds] per model.

    The models take turns, each round in another order, so that a change of clock speed or load
    meets all of them alike. Only times of one call are comparable.

    Args:
        models: serialized models by name.
        pixels: uint8 [N, S, S, 3], the images of every run.
        rounds: number of timed runs per model, after three that are not timed.
        clock: seconds, as `time.perf_counter` and `time.thread_time` return them.
    """
    sessions = {name: open_session(model, threads=1) for name, model in models.items()}
    feed = {INPUTS[0]: np.ascontiguousarray(pixels)}
    for session in sessions.values():
        for _ in range(3):
            session.run(None, feed)
    names = list(sessions)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            start = clock()
            sessions[name].run(None, feed)
            seconds[name].append(clock() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def median_ratio(seconds: Mapping[str, NDArray[np.float64]], name: str, base: str) -> float:
    """Median time of one model over that of another."""
    return float(np.median(seconds[name]) / np.median(seconds[base]))
