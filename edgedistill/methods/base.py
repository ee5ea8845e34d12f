"""The interface of a training method: hyper-parameters, a head and a pure function to losses.

A method never touches files, devices or the teacher network. Adding one is adding a file to
``edgedistill.methods`` whose class registers itself with ``METHODS.register``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    NotRequired,
    TypedDict,
    TypeVar,
)

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgedistill.methods.hyper import HyperParameters, authors_values

if TYPE_CHECKING:
    from edgedistill.methods.reliability import Reliability
    from edgedistill.methods.text_bank import TextBank


class StudentOutput(NamedTuple):
    """Outputs of a student for a batch of B images."""

    features: Tensor
    """[B, d] pooled output of the backbone."""
    logits: Tensor
    """[B, C] over the known classes."""
    projected: Tensor | None
    """[B, D] unit-norm, only from methods that project into the teacher's space."""


class TeacherOutputs(NamedTuple):
    """Embeddings of the teacher for a batch of B images, and of the class texts."""

    image: Tensor
    """[B, D] unit-norm float32 image embeddings of the views the student saw."""
    text: TextBank
    """Texts of the known classes, in label order, on the same device."""
    reliability: Reliability | None = None
    """Of the teacher on source validation, on the same device; None where it was not measured."""


class Mixture(NamedTuple):
    """Which images of a batch of B a student sees mixed with which; see `Method.mix`."""

    partners: NDArray[np.int64]
    """[B] row of the image that each row is mixed with."""
    shares: NDArray[np.float32]
    """[B] weight of the row's own image, in [0, 1]; its partner's is the rest."""


class SourceRows(NamedTuple):
    """What the B rows of a batch are images of, for methods that compare source domains."""

    domains: Tensor
    """int64 [B] number of each row's source domain; -1 for an image without a label."""
    num_domains: int
    """Number of source domains, each with at least one row."""
    partners: Tensor | None = None
    """int64 [B] row whose image each was mixed with; None where nothing was mixed."""
    shares: Tensor | None = None
    """float32 [B] weight of each row's own image; None likewise."""


class ParamGroup(TypedDict):
    """Parameters trained alike: at ``lr`` if given, else at ``lr_scale`` times the recipe's rate.

    Weight decay applies to every group, normalisation layers and biases included, as in both
    methods' own code.
    """

    name: str
    params: list[nn.Parameter]
    lr_scale: NotRequired[float]
    lr: NotRequired[float]


HyperT = TypeVar("HyperT", bound=HyperParameters)
HeadT = TypeVar("HeadT", bound=nn.Module)


class Method(ABC, Generic[HyperT, HeadT]):
    """Training method of a student; stateless apart from its hyper-parameters and class texts."""

    Hyper: ClassVar[type[HyperParameters]] = HyperParameters
    """Model of the hyper-parameters, the keys of a recipe's section [method]."""
    needs_teacher: ClassVar[bool]
    """Whether `losses` reads the teacher's embeddings."""
    projects: ClassVar[bool] = False
    """Whether the head's outputs have a projection into the teacher's space."""
    default_score: ClassVar[str] = "max_logit"
    """Openness score where a recipe names none; every head has logits."""
    uses_unlabelled: ClassVar[bool] = False
    """Whether `losses` takes rows without a label, which are -1 in its labels; see `losses`."""
    uses_domains: ClassVar[bool] = False
    """Whether `losses` reads each row's source domain; see `DomainMethod`."""
    projection_weight: ClassVar[str | None] = None
    """Name of the head's matrix from features into the teacher's space, which a later student may
    start from; None for a head without one."""
    authors_recipe: ClassVar[Mapping[str, Any]] = {}
    """Dotted recipe key outside [method] -> the value with which the authors' code trained."""

    def __init__(self, hyper: HyperT, *, text: TextBank | None) -> None:
        """``text`` may be None for methods whose head does not depend on the class texts."""
        self.hyper = hyper
        self.text = text

    @classmethod
    def faithful_values(cls) -> dict[str, Any]:
        """Dotted recipe key -> the authors' value, wherever it differs from the default.

        Empty for a method without published code.
        """
        inside = {f"method.{name}": value for name, value in authors_values(cls.Hyper).items()}
        return {**cls.authors_recipe, **inside}

    @classmethod
    def draw_hyperparameters(cls, seed: int, trial: int) -> dict[str, float] | None:
        """Dotted recipe key -> a value drawn as in the authors' own random search.

        ``seed`` 0 stands for the recipe's own values, an empty dictionary. None for a method whose
        authors published no such search.
        """
        return None

    @classmethod
    def sentences(cls, hyper: HyperT) -> Sequence[str]:
        """Templates with one {} whose class texts `TextBank.sentences` has, apart from the prompts.

        Empty for a method that compares with the recipe's prompts alone.
        """
        return ()

    @classmethod
    def score_of(cls, hyper: HyperT) -> str:
        """Openness score where a recipe with these hyper-parameters names none."""
        return cls.default_score

    @property
    def optimizers(self) -> int:
        """Number of identical optimisers that step on each gradient."""
        return 1

    @abstractmethod
    def head(self, feature_dim: int, num_classes: int, projection: Tensor | None = None) -> HeadT:
        """A module from features [B, feature_dim] to StudentOutput with C = num_classes.

        ``projection`` [D, feature_dim] maps the start weights' features into the teacher's space,
        where they were distilled from it; a head without a place for it leaves it out. Initial
        values are drawn from torch's global generator, which the caller seeds.
        """

    @abstractmethod
    def compute_losses(
        self,
        head: HeadT,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        """The named losses of `losses`, given float32 outputs, with autocast off."""

    def losses(
        self,
        head: HeadT,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
        rows: SourceRows | None = None,
    ) -> dict[str, Tensor]:
        """Scalar float32 losses: "loss" is what to minimise, the rest its unweighted terms.

        ``head`` is the module that made ``out``; ``labels`` is int64 [B], for methods that use
        unlabelled images with ``UNLABELLED``, -1, in the rows of these, behind at least one that
        has a label. Computed in float32 whatever the outputs' dtype and the surrounding autocast:
        at CLIP's logit scale of 100 the rounding of a bfloat16 cosine would move a logit by about
        0.4. ``rows`` is for methods that use the source domains.
        Raises ValueError if the method needs the teacher and ``teacher_outputs`` is None.
        """
        with torch.autocast(out.logits.device.type, enabled=False):
            return self.compute_losses(head, _float32(out), labels, teacher_outputs)

    def param_groups(self, backbone: nn.Module, head: HeadT) -> list[ParamGroup]:
        """Every trainable parameter exactly once, with its share of the learning rate."""
        return [group("backbone", backbone), group("head", head)]

    def keep_fraction(self, step: int, total_steps: int) -> float | None:
        """Share of the batch, hardest samples first, to train on at ``step`` (from 0); None: all.

        The caller ranks the batch by the current student's cross-entropy.
        """
        return None

    def mix(self, domains: NDArray[np.int64], rng: np.random.Generator) -> Mixture | None:
        """The images of a batch to mix, pixel by pixel, before the student sees them; None: none.

        Pure in ``domains``, [B] number of each row's source domain, and in ``rng``, which is the
        same in every process and at a repetition of the step. The teacher's embeddings are those of
        the images themselves. Not asked where `keep_fraction` selects.
        """
        return None

    def after_step(self, head: HeadT) -> None:
        """Bring parameters and buffers into their range; called once after every step."""

    def describe_reliability(self, reliability: Reliability) -> str | None:
        """A line on what the method makes of the teacher's reliability; None if nothing."""
        return None

    def class_texts(self) -> TextBank:
        """The class texts given at construction. Raises ValueError if there are none."""
        if self.text is None:
            raise ValueError(f"method {type(self).__name__} needs the class texts")
        return self.text

    def require_teacher(self, teacher_outputs: TeacherOutputs | None) -> TeacherOutputs:
        """``teacher_outputs`` itself. Raises ValueError if it is None."""
        if teacher_outputs is None:
            raise ValueError(f"method {type(self).__name__} needs the teacher's embeddings")
        return teacher_outputs


class DomainMethod(Method[HyperT, HeadT]):
    """Training method that compares the source domains of a batch and needs no teacher.

    Every row has a label. A run of fewer than two source domains is refused.
    """

    needs_teacher: ClassVar[bool] = False
    uses_domains: ClassVar[bool] = True

    @abstractmethod
    def compute_domain_losses(
        self, head: HeadT, out: StudentOutput, labels: Tensor, rows: SourceRows
    ) -> dict[str, Tensor]:
        """The named losses of `losses`, given float32 outputs, with autocast off."""

    def compute_losses(
        self,
        head: HeadT,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        raise ValueError(f"method {type(self).__name__} needs the source domain of every row")

    def losses(
        self,
        head: HeadT,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
        rows: SourceRows | None = None,
    ) -> dict[str, Tensor]:
        """`Method.losses`. Raises ValueError if ``rows`` is None."""
        if rows is None:
            return self.compute_losses(head, out, labels, teacher_outputs)
        with torch.autocast(out.logits.device.type, enabled=False):
            return self.compute_domain_losses(head, _float32(out), labels, rows)


def group(name: str, *modules: nn.Module, lr_scale: float = 1.0) -> ParamGroup:
    """The trainable parameters of some modules as one group."""
    return {"name": name, "params": trainable(modules), "lr_scale": lr_scale}


def trainable(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Parameters of the modules that require a gradient."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def _float32(out: StudentOutput) -> StudentOutput:
    projected = None if out.projected is None else out.projected.float()
    return StudentOutput(out.features.float(), out.logits.float(), projected)
