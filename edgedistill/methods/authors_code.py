"""Recipe values with which the committed code of the methods' authors trains, by code base.

`faithful = true` sets them. Quirks inside a method are marked on its hyper-parameters
instead; docs/explanation/methods-and-fidelity.md says what each does.
SCI-PD, its ERM and its CLIPBase come from one repository (HDG), SCMD from a fork of DomainBed, the
baselines without a teacher from DomainBed itself.
"""

from collections.abc import Mapping
from typing import Any

HDG_TRAINING: Mapping[str, Any] = {
    "train.replacement": True,
    "train.double_last_decay": True,
    "train.decay_after_epochs": True,
    "train.precision": "fp32",
}
HDG_DISTILLATION: Mapping[str, Any] = {
    "teacher.normalization": "student",
    "prompts.keep_underscores": True,
    **HDG_TRAINING,
}
DOMAINBED_BASELINE: Mapping[str, Any] = {
    "train.replacement": True,
    "train.augmented_validation": True,
    "train.ties": "first",
    "train.precision": "fp32",
}
DOMAINBED: Mapping[str, Any] = {
    "teacher.normalization": "student",
    **DOMAINBED_BASELINE,
    "train.precision": "fp16",
}
