"""Curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgedistill._utils.extras import needs_extra
from edgedistill.callbacks import RunEnd
from edgedistill.loggers.base import Logger, flat
from edgedistill.registries import LOGGERS

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@LOGGERS.register("tensorboard")
class TensorBoardLogger(Logger):
    """Event files in RUN/tensorboard, for `tensorboard --logdir runs`."""

    def open(self) -> None:
        with needs_extra("tensorboard", 'log.to = ["tensorboard"]'):
            import tensorboard  # noqa: F401
        self._writer: SummaryWriter | None = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        writer = self._open_at(step)
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def close(self, end: RunEnd, results: Mapping[str, float]) -> None:
        if self._writer is None and not results:
            return
        writer = self._open_at(0)
        if results:
            settings = {
                key: value if isinstance(value, bool | int | float | str) else repr(value)
                for key, value in flat(self.settings)
            }
            shown = {f"result/{name}": value for name, value in results.items()}
            writer.add_hparams(settings, shown, run_name=".")
        writer.close()

    def _open_at(self, step: int) -> SummaryWriter:
        """The writer; steps from `step` on that an earlier start wrote are hidden."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            folder = self.folder / "tensorboard"
            again = step if folder.is_dir() and step else None
            self._writer = SummaryWriter(str(folder), purge_step=again)
        return self._writer
