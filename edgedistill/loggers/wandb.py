"""Curves for Weights & Biases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from edgedistill._utils.extras import needs_extra
from edgedistill.callbacks import RunEnd
from edgedistill.errors import RecipeError
from edgedistill.loggers.base import Logger
from edgedistill.registries import LOGGERS


@LOGGERS.register("wandb")
class WandbLogger(Logger):
    """A run of the project `log.project` at wandb; the environment's WANDB_* variables count."""

    def open(self) -> None:
        with needs_extra("wandb", 'log.to = ["wandb"]'):
            import wandb
        # wandb takes the hidden one where it is there: a folder that is seen counts as trained.
        (self.folder / ".wandb").mkdir(exist_ok=True)
        # The same folder resumes the same run.
        place = hashlib.blake2b(str(self.folder.resolve()).encode("utf-8", "surrogateescape"))
        try:
            self._run = wandb.init(
                project=self.section.project,
                name=self.folder.name,
                id=place.hexdigest()[:16],
                resume="allow",
                dir=str(self.folder),
                config=dict(self.settings),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())[:200]
            raise RecipeError(
                f"log.to: wandb does not start ({reason}); run 'wandb login', set "
                'WANDB_MODE=offline, or take "wandb" out'
            ) from None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, end: RunEnd, results: Mapping[str, float]) -> None:
        self._run.summary.update(dict(results))
        self._run.finish(exit_code=0 if end.status == "finished" else 1)
