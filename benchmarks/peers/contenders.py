"""Ways to answer one image on a CPU: ours, and what people would use instead.

Every contender gets the same thing, one uint8 image of its input size, and gives a score and class
probabilities: whatever normalisation, softmax and score its program needs is inside what is timed.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.data.pixels import to_chw_float
from edgedistill.errors import EdgeDistillError
from edgedistill.export.onnx.graph import quiet_exporter
from edgedistill.export.onnx.module import Deployed
from edgedistill.export.session import ModelOutputs, open_session, run_model
from edgedistill.methods.text_bank import TextBank
from edgedistill.runtime.contract import LOWEST
from edgedistill.students import Student
from edgedistill.teacher.open_clip import Teacher

Answers = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Score float [N] and probabilities float [N, C]."""
Answer = Callable[[NDArray[np.uint8]], Answers]


@dataclass(frozen=True)
class Contender:
    """One way to answer.

    Attributes:
        name: for tables; size: input side, pixels.
        bytes: of the files it needs, None where there is no file.
        load: made ready afresh; the result answers uint8 [1, S, S, 3].
    """

    name: str
    size: int
    bytes: int | None
    load: Callable[[], Answer]

    def answers(self, pixels: Any) -> ModelOutputs:
        """Answers to uint8 [N, S, S, 3], one image at a time, nothing rejected."""
        answer = self.load()
        answers = [answer(np.array(pixels[i : i + 1])) for i in range(len(pixels))]
        score, probabilities = (np.concatenate(part) for part in zip(*answers, strict=True))
        return ModelOutputs(probabilities.argmax(axis=1), score, probabilities)


def exported(name: str, data: bytes, size: int, threads: int) -> Contender:
    """A file of `edgedistill export` in onnxruntime."""

    def load() -> Answer:
        session = open_session(data, threads)

        def answer(pixels: NDArray[np.uint8]) -> Answers:
            outputs = run_model(session, pixels)
            return outputs.score, outputs.probabilities

        return answer

    return Contender(name, size, len(data), load)


def eager(name: str, module: Deployed, size: int, threads: int) -> Contender:
    """The same computation in PyTorch, as it is."""
    return Contender(name, size, None, lambda: _torch_answer(deepcopy(module), threads))


def compiled(name: str, module: Deployed, size: int, threads: int) -> Contender:
    """The same through torch.compile, for one image; compiled by the first call of each loading.

    Raises EdgeDistillError where it cannot be compiled, for want of a C++ compiler mostly.
    """

    def load() -> Answer:
        # torch compiles a module's code a few times only, and then runs it as it is.
        torch.compiler.reset()
        return _torch_answer(torch.compile(deepcopy(module), dynamic=False), threads)

    try:
        load()(np.zeros((1, size, size, 3), np.uint8))
    except Exception as error:
        # The compiler's errors have no common type.
        raise EdgeDistillError(f"torch.compile: {_line(error)}") from error
    return Contender(name, size, None, load)


def openvino(name: str, data: bytes, size: int, threads: int) -> Contender:
    """A file of `edgedistill export` in OpenVINO, in the file's own precision.

    Raises EdgeDistillError when it is not installed, or cannot read the file.
    """
    try:
        from openvino import Core
    except ImportError:
        raise EdgeDistillError("OpenVINO is not installed: pip install openvino") from None
    # Left alone it would compute in bfloat16 where the CPU can: another model.
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_PRECISION_HINT"] = "f32"

    def load() -> Answer:
        core = Core()
        model = core.read_model(data)
        model.reshape({model.input("image"): [1, size, size, 3]})
        ready = core.compile_model(model, "CPU", settings)
        request = ready.create_infer_request()
        places = {o.any_name: i for i, o in enumerate(ready.outputs)}

        def answer(pixels: NDArray[np.uint8]) -> Answers:
            outputs = request.infer({"image": pixels})
            score, probabilities = (outputs[places[name]] for name in ("score", "probabilities"))
            return np.array(score), np.array(probabilities)

        return answer

    try:
        load()
    except Exception as error:
        raise EdgeDistillError(f"OpenVINO: {_line(error)}") from error
    return Contender(name, size, len(data), load)


class Bare(nn.Module):
    """What a plain export holds: normalised pixels to logits and, where it projects, embedding."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        out = self.student(x)
        return (out.logits,) if out.projected is None else (out.logits, out.projected)


def plain_export(name: str, module: Deployed, size: int, folder: Path, threads: int) -> Contender:
    """The student through torch.onnx.export with its defaults, and its head in torch.

    Raises EdgeDistillError when torch's exporter fails.
    """
    path = folder / "plain.onnx"
    export(Bare(module.student), torch.zeros(1, 3, size, size), path)
    mean, std = (
        np.array(values, np.float32)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
    )

    def load() -> Answer:
        session = _session(path, threads)
        entry = session.get_inputs()[0].name

        def answer(pixels: NDArray[np.uint8]) -> Answers:
            x = (pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / std
            logits, *projected = session.run(None, {entry: x})
            embedding = torch.from_numpy(projected[0]) if projected else None
            with torch.inference_mode():
                outputs = module.openset(torch.from_numpy(logits), embedding)
            return outputs.score.numpy(), outputs.probabilities.numpy()

        return answer

    return Contender(name, size, _bytes(folder, path), load)


class ZeroShot(nn.Module):
    """A CLIP model as a classifier: uint8 pixels to scores and class probabilities.

    The class texts are constants in it; its text tower is not part of it.
    """

    mean: Tensor
    std: Tensor
    texts: Tensor
    owned: Tensor

    def __init__(self, teacher: Teacher, text: TextBank) -> None:
        super().__init__()
        self.model = teacher.model
        self.scale = text.logit_scale
        self.register_buffer("mean", torch.tensor(teacher.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(teacher.std)[:, None, None])
        rows = text.names if text.pool == "best" else text.pooled
        self.register_buffer("texts", rows.T.contiguous())
        # The names of every class, short lists filled up with their first: [C, most names].
        owner = text.owner if text.pool == "best" else torch.arange(len(text.pooled))
        lists = [torch.nonzero(owner == c).flatten() for c in range(len(text.pooled))]
        most = max(map(len, lists))
        filled = [torch.cat([own, own[:1].expand(most - len(own))]) for own in lists]
        self.register_buffer("owned", torch.stack(filled))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = (to_chw_float(image) / 255 - self.mean) / self.std
        embedding = self.model.encode_image(x)  # type: ignore[operator]
        each = nn.functional.normalize(embedding, dim=1) @ self.texts
        cosines = each[:, self.owned].amax(dim=2)
        return cosines.amax(dim=1), (self.scale * cosines).softmax(dim=1)


def zero_shot_teacher(
    name: str, teacher: Teacher, text: TextBank, folder: Path, threads: int
) -> Contender:
    """The teacher's image tower and the class texts in onnxruntime, scored by largest cosine.

    Raises EdgeDistillError when torch's exporter fails.
    """
    path, size = folder / "teacher.onnx", teacher.size
    module = ZeroShot(teacher, text).to(memory_format=torch.contiguous_format).eval()
    export(module, torch.zeros(1, size, size, 3, dtype=torch.uint8), path)

    def load() -> Answer:
        session = _session(path, threads)
        entry = session.get_inputs()[0].name

        def answer(pixels: NDArray[np.uint8]) -> Answers:
            score, probabilities = session.run(None, {entry: pixels})
            return score, probabilities

        return answer

    return Contender(name, size, _bytes(folder, path), load)


def export(module: nn.Module, example: Tensor, path: Path) -> None:
    """torch.onnx.export with its defaults. Raises EdgeDistillError when it fails."""
    try:
        with quiet_exporter(), torch.no_grad():
            torch.onnx.export(module.eval(), (example,), path, dynamo=True, verbose=False)
    except Exception as error:
        # The exporter's errors have no common type.
        raise EdgeDistillError(f"torch.onnx.export: {_line(error)}") from error


def _torch_answer(module: Callable[..., Any], threads: int) -> Answer:
    torch.set_num_threads(threads)
    accept_all = torch.tensor(LOWEST)

    def answer(pixels: NDArray[np.uint8]) -> Answers:
        with torch.inference_mode():
            _, score, probabilities = module(torch.from_numpy(pixels), accept_all)
        return score.numpy(), probabilities.numpy()

    return answer


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A file that may have its weights beside it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _bytes(folder: Path, path: Path) -> int:
    """Of a model and the weights that the exporter may have put beside it."""
    return sum(part.stat().st_size for part in folder.glob(f"{path.name}*"))


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
