"""Curves for MLflow."""

from __future__ import annotations

import time
from collections.abc import Mapping

from edgedistill._utils.atomic import write_text
from edgedistill._utils.extras import needs_extra
from edgedistill.callbacks import RunEnd
from edgedistill.errors import RecipeError
from edgedistill.loggers.base import Logger, flat
from edgedistill.registries import LOGGERS

# MLflow's limit of a parameter's value, in characters.
_LONGEST = 6000
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@LOGGERS.register("mlflow")
class MLflowLogger(Logger):
    """A run of the experiment `log.project`, where MLFLOW_TRACKING_URI points."""

    def open(self) -> None:
        with needs_extra("mlflow", 'log.to = ["mlflow"]'):
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        try:
            self._client = MlflowClient()
            self._run = self._resumed() or self._new()
        except MlflowException as error:
            reason = " ".join(str(error).split())[:200]
            raise RecipeError(
                f"log.to: mlflow does not start ({reason}); set MLFLOW_TRACKING_URI to a "
                "server's address, or to sqlite:///FILE.db with the package mlflow installed"
            ) from None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        moment = _milliseconds()
        metrics = [Metric(name, value, moment, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self, end: RunEnd, results: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        moment = _milliseconds()
        metrics = [Metric(f"result/{name}", value, moment, 0) for name, value in results.items()]
        self._client.log_batch(self._run, metrics=metrics)
        self._client.set_terminated(self._run, status=_STATUS[end.status])

    def _resumed(self) -> str | None:
        """The run that an earlier start of this folder opened, set to running."""
        note = self.folder / ".mlflow-run"
        if not note.is_file():
            return None
        run: str = note.read_text(encoding="utf-8").strip()
        self._client.update_run(run, status="RUNNING")
        return run

    def _new(self) -> str:
        from mlflow.entities import Param

        experiment = self._client.get_experiment_by_name(self.section.project)
        number = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(self.section.project)
        )
        run: str = self._client.create_run(number, run_name=self.folder.name).info.run_id
        params = [Param(key, str(value)[:_LONGEST]) for key, value in flat(self.settings)]
        for first in range(0, len(params), 100):
            self._client.log_batch(run, params=params[first : first + 100])
        write_text(self.folder / ".mlflow-run", f"{run}\n")
        return run


def _milliseconds() -> int:
    return int(time.time() * 1000)
