"""The validation of a run."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgedistill.train.validation import SourceValidation


def test_the_standard_error_is_that_of_a_mean_over_domains(tiny_context: Any) -> None:
    validator: SourceValidation = tiny_context().validator
    domains = (np.arange(4), np.arange(4, 20))
    two = replace(validator, images=replace(validator.images, domains=domains))
    # Half of 0.75 * 0.25 / 4 and 0.75 * 0.25 / 16, as deviations of independent halves.
    assert two.standard_error(0.75) == pytest.approx(math.sqrt(0.1875 / 4 + 0.1875 / 16) / 2)
    assert two.standard_error(1.0) == 0
