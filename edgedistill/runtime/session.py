"""onnxruntime session that runs as asked or raises: no silent fallback to another provider."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgedistill.errors import ModelFileError, UsageError
from edgedistill.runtime.contract import OUTPUTS, ModelInfo

Provider = str | tuple[str, dict[str, Any]]
# label int64 [N], score float32 [N], probabilities float32 [N, C]
Answer = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]

# onnxruntime starts any number of threads, until the memory is full.
MAX_THREADS = 1024
_CPU = "CPUExecutionProvider"
# onnxruntime would also print the failures that are raised here.
_FATAL_ONLY = 4


class Session:
    """A loaded model. Safe to run from several threads at once.

    Args:
        data: a model file that `read_model` has checked.
        info: its metadata, from the same call.
        name: the file's name in error messages.
        providers: onnxruntime's execution providers in order of preference, each a name or a
            (name, options) pair. Nodes run on those named only.
        threads: threads for one run, None for onnxruntime's choice (one per physical core).

    Raises:
        ModelFileError: a provider that is not installed, does not start or cannot run the whole
            model; a model onnxruntime refuses or that does not keep the contract.
    """

    def __init__(
        self,
        data: bytes,
        info: ModelInfo,
        name: str,
        providers: Sequence[Provider],
        threads: int | None,
    ) -> None:
        wanted = _names(providers)
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise UsageError(
                f"threads: {threads} is not in 1..{MAX_THREADS}; leave it out for all cores"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = threads or 0
        if _CPU not in wanted:
            # Or the CPU would quietly run what the provider cannot.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=list(providers), enable_fallback=0
            )
        except Exception as error:
            advice = (
                "update onnxruntime or export it again"
                if _CPU in wanted
                else f"name {_CPU} as well to let it run the rest"
            )
            raise ModelFileError(
                f"{name}: onnxruntime {onnxruntime.__version__} cannot load it on "
                f"{', '.join(wanted)} ({_line(error)}); {advice}",
                "session",
            ) from None
        running = self._session.get_providers()
        missing = [provider for provider in wanted if provider not in running]
        if missing:
            raise ModelFileError(
                f"{name}: {missing[0]} did not start, {', '.join(running)} would run instead; "
                "check its driver and libraries or name another provider",
                "session",
            )
        # The wrapper keeps the file for a fallback that is off: as much memory again as the model.
        self._session._model_bytes = None
        self.providers = tuple(wanted)
        self._name = name
        self._classes = len(info.classes)
        self._check_signature(info)

    def run(self, images: NDArray[np.uint8], threshold: np.float32 | None) -> Answer:
        """Outputs for images uint8 RGB [N, S, S, 3] at a threshold, None for the file's own.

        Returns:
            label int64 [N], score float32 [N], probabilities float32 [N, C].

        Raises:
            ModelFileError: onnxruntime fails, or its outputs break the contract.
        """
        feed: dict[str, Any] = {"image": images}
        if threshold is not None:
            feed["threshold"] = np.asarray(threshold, np.float32)
        try:
            label, score, probabilities = self._session.run(OUTPUTS, feed, _quiet_run())
        except Exception as error:
            raise ModelFileError(
                f"{self._name}: onnxruntime failed on {len(images)} images ({_line(error)}); "
                "try a smaller batch or another provider",
                "session",
            ) from None
        self._check_outputs(len(images), label, score, probabilities)
        return label, score, probabilities

    def _check_signature(self, info: ModelInfo) -> None:
        try:
            valid = self._keeps_contract(info)
        except UnicodeDecodeError:
            # onnxruntime takes names that are no UTF-8.
            valid = False
        if not valid:
            raise ModelFileError(
                f"{self._name}: its inputs or outputs contradict its metadata; export it again",
                "metadata",
            )

    def _keeps_contract(self, info: ModelInfo) -> bool:
        side, classes = info.size, len(info.classes)
        inputs = {i.name: (i.type, i.shape) for i in self._session.get_inputs()}
        defaults = {i.name: (i.type, i.shape) for i in self._session.get_overridable_initializers()}
        outputs = {o.name: (o.type, o.shape) for o in self._session.get_outputs()}
        free = inputs.get("image", ("", [0]))[1][:1]
        return (
            inputs == {"image": ("tensor(uint8)", [*free, side, side, 3])}
            and not any(isinstance(length, int) for length in free)
            and defaults.get("threshold") == ("tensor(float)", [])
            and set(outputs) == set(OUTPUTS)
            and outputs["label"][0] == "tensor(int64)"
            and outputs["score"][0] == "tensor(float)"
            and outputs["probabilities"][0] == "tensor(float)"
            and outputs["probabilities"][1][1:] == [classes]
        )

    def _check_outputs(self, count: int, label: Any, score: Any, probabilities: Any) -> None:
        shapes = (label.shape, score.shape, probabilities.shape)
        valid = (
            shapes == ((count,), (count,), (count, self._classes))
            and bool(((label >= -1) & (label < self._classes)).all())
            and bool(np.isfinite(score).all() and np.isfinite(probabilities).all())
        )
        if not valid:
            raise ModelFileError(
                f"{self._name}: answered NaN or in another form than its contract says; "
                "export it again",
                "metadata",
            )


def _quiet_run() -> Any:
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL_ONLY
    return options


def _names(providers: Sequence[Provider]) -> list[str]:
    if isinstance(providers, str) or not providers:
        raise UsageError('providers: give a list of names, such as ["CPUExecutionProvider"]')
    available = onnxruntime.get_available_providers()
    wanted = [entry if isinstance(entry, str) else entry[0] for entry in providers]
    for name in wanted:
        if name not in available:
            raise UsageError(
                f"{name}: not in this onnxruntime, which has {', '.join(available)}; install the "
                "onnxruntime package that has it or name another provider"
            )
    return wanted


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
