"""A request to stop is answered once, and never lost."""

from __future__ import annotations

import os
import signal

import pytest

from edgedistill.train.stopping import stop_requests


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_flag(number: int) -> None:
    before = signal.getsignal(number)
    with stop_requests() as stopping:
        assert not stopping()
        os.kill(os.getpid(), number)
        assert stopping()
        # A second one does what it did before.
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_one_that_nobody_asked_about_is_not_lost() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), stop_requests() as stopping:
        assert not stopping()
        os.kill(os.getpid(), signal.SIGINT)
        done.append(True)
    assert done
