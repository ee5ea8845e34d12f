"""DomainBed's random hyper-parameters of SCMD (arXiv 2311.15145), to the digit.

Seed 0 means the defaults. Every other value is drawn from a generator of its own, seeded by a hash
of the hyper-parameters' seed, the trial's and its name.
"""

from collections.abc import Callable
from typing import Any

from numpy.random import RandomState

from edgedistill.data.protocols.domainbed import seed_hash

# The authors' name -> our recipe's field and the draw.
_DRAWS: dict[str, tuple[str, Callable[[RandomState], Any]]] = {
    "lambda1": ("method.lambda1", lambda r: r.uniform(0.5, 1)),
    "lambda2": ("method.lambda2", lambda r: r.uniform(0.5, 1)),
    "last_k_epoch": ("method.last_k", lambda r: r.uniform(0.2, 0.4)),
    "worst_case_p": ("method.worst_case_p", lambda r: r.choice([0.2, 0.25, 0.3])),
    "temperature": ("method.temperature", lambda r: r.uniform(2, 5)),
    "lr": ("train.lr", lambda r: r.choice([3e-5, 5e-5])),
    "weight_decay": ("train.weight_decay", lambda r: r.choice([1e-4, 1e-6])),
}


def scmd_hyperparameters(hparams_seed: int, trial: int) -> dict[str, float]:
    """Drawn hyper-parameters of a trial.

    Returns:
        Recipe field -> value; empty for seed 0, which stands for the recipe's own values.
    """
    if hparams_seed == 0:
        return {}
    seed = seed_hash(hparams_seed, trial)
    return {
        field: float(draw(RandomState(seed_hash(seed, name))))
        for name, (field, draw) in _DRAWS.items()
    }
