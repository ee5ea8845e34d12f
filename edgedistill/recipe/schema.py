"""The recipe: one strict pydantic model per section, every default visible here.

Names of datasets, methods, students and scores are looked up in the registries when a recipe is
resolved, see `load.py`. `faithful = true` sets what a method's `faithful_values()` says.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edgedistill.recipe.values import parse_hybridness

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
LARGEST_SIDE = 1024
Size = Annotated[int, Field(ge=32, le=LARGEST_SIDE)]
# Generators are seeded with 64 bits: the seed above, the step below.
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """Strict: unknown keys and values of another type are errors, never ignored or converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSection(Section):
    """Images, target domain, classes and split."""

    dataset: str = Field(
        default="emoji",
        description="a registered dataset, a folder in one of the layouts, or a .csv file",
    )
    layout: Literal[
        "auto", "domain/class", "class", "split/class", "split/domain/class", "csv", "lists"
    ] = Field(
        default="auto",
        description="how a folder is read, see docs/how-to/layouts-of-images.md; 'auto': by its "
        "folders",
    )
    root: str | None = Field(
        default=None,
        description="where your copy of a benchmark called by name lies, or where the paths of a "
        ".csv file or of image lists start from",
    )
    merge_spellings: bool = Field(
        default=False,
        description="join domains, and classes, whose names differ only in case, spaces, '_', '-' "
        "or Unicode form",
    )
    target: str | None = Field(
        default=None,
        description="the domain held out for testing, or a folder of images without classes; "
        "default: all domains are trained on",
    )
    sources: list[str] | None = Field(
        default=None, min_length=1, description="the domains to train on, default: all others"
    )
    unlabelled: list[str] = Field(
        default=[],
        description="folders of images of anything, at any depth and without classes, that join "
        "the training of methods that can use them; or 'emoji' or 'icons', that benchmark's own "
        "images of no class",
    )
    known: list[str] | None = Field(
        default=None, min_length=2, description="known classes, default: all not unknown"
    )
    unknown: list[str] | None = Field(
        default=None,
        description="classes met only at test time, default: the dataset's own, or all but known",
    )
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="share of the source instances kept for validation and calibration"
    )
    test_fraction: Share | None = Field(
        default=None,
        description="share of instances seen only in the test, default: the dataset's own, or "
        "0.2 where there is no target and no given split; 0: no test on held-out images",
    )
    split_seed: Seed = Field(
        default=0, description="seeds the hash that puts an instance on its side of the split"
    )
    protocol: Literal["instances", "hdg", "domainbed"] = Field(
        default="instances",
        description="split into training, validation and test, see docs/how-to/pacs-and-hdg.md",
    )
    hybridness: str | None = Field(
        default=None,
        description="with 'hdg': how far the sources share their classes, a number or '1/6'",
    )
    classes_per_source: dict[str, list[str]] | None = Field(
        default=None, description="with 'hdg': domain -> its classes, instead of a hybridness"
    )
    lists: str | None = Field(
        default=None,
        description="with 'hdg': folder of the authors' image lists, default: looked for in root",
    )

    @field_validator("hybridness", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        # A person writes 0 or 0.25 as readily as "1/6".
        text = str(value) if type(value) in (int, float) else value
        if isinstance(text, str):
            parse_hybridness(text)
        return text

    @model_validator(mode="after")
    def _protocol(self) -> "DataSection":
        if self.protocol != "instances" and self.target is None:
            raise ValueError(f"target is required with protocol = {self.protocol!r}")
        hdg_keys = [n for n in ("hybridness", "classes_per_source", "lists") if getattr(self, n)]
        if self.protocol != "hdg" and hdg_keys:
            raise ValueError(f"{hdg_keys[0]} needs protocol = 'hdg'")
        if self.protocol != "instances" and self.sources:
            raise ValueError("sources needs protocol = 'instances'")
        if self.protocol == "hdg" and (self.hybridness is None) == (not self.classes_per_source):
            raise ValueError("protocol 'hdg' needs either hybridness or classes_per_source")
        if self.protocol == "domainbed" and self.test_fraction:
            raise ValueError("protocol 'domainbed' tests on 1 - val_fraction; drop test_fraction")
        return self


class ViewsSection(Section):
    """Random crops that teacher and student both see."""

    count: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=4, description="views per image whose teacher embeddings are cached; 0: on the fly"
    )
    seed: Seed = Field(default=0, description="seeds the crops and colours of the views")
    store_size: Size = Field(
        default=288,
        description="side in pixels of the stored square images that views are cut from; unset: "
        "a quarter above student.size, up to the next multiple of 16",
    )
    scale: tuple[float, float] = Field(
        default=(0.7, 1.0), description="share of the area a crop keeps"
    )
    ratio: tuple[float, float] = Field(default=(0.75, 4 / 3), description="aspect ratio of a crop")
    flip: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="share of views that are mirrored"
    )
    brightness: Share = Field(default=0.3, description="the factor is 1 ± at most this")
    contrast: Share = Field(default=0.3, description="the factor is 1 ± at most this")
    saturation: Share = Field(default=0.3, description="the factor is 1 ± at most this")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.3, description="turns of the hue circle, at most this either way"
    )
    grayscale: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1, description="share of views without colour"
    )

    @field_validator("scale", "ratio", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        # TOML has lists only, and whole numbers where a person leaves the point out.
        if not isinstance(value, list):
            return value
        numbers = [float(v) for v in value if type(v) in (int, float)]
        if len(numbers) != len(value) or len(numbers) != 2:
            raise ValueError(f"must be two numbers [low, high], got {value}")
        return tuple(numbers)

    @model_validator(mode="after")
    def _ordered(self) -> "ViewsSection":
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError("scale must be [low, high] with 0 < low <= high <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError("ratio must be [low, high] with 0 < low <= high")
        return self


class TeacherSection(Section):
    """The frozen open_clip model."""

    model: str | None = Field(
        default=None,
        description="an open_clip model, 'hf-hub:ORG/NAME', a folder (of open_clip's format, or "
        "of transformers' for CLIP and SigLIP), 'emoji-clip', or, for pretraining, 'timm/NAME'; "
        "unset: 'emoji-clip' for an embedded benchmark, else none, which methods with a teacher "
        "refuse",
    )
    pretrained: str = Field(default="", description="open_clip tag or checkpoint file")
    size: Size | None = Field(
        default=None,
        description="input side in pixels of a network of timm, unset: that of its published "
        "weights; other models have a side of their own",
    )
    normalization: Literal["own", "student"] = Field(
        default="own", description="'student' feeds the teacher the student's pixel statistics"
    )
    batch: Positive = Field(
        default=128,
        description="views the teacher embeds at once while a cache is filled, which is of this "
        "number only",
    )


class PromptsSection(Section):
    """Prompts, the texts of the class names."""

    templates: list[str] = Field(
        default=["a photo of a {}"],
        min_length=1,
        description="sentences with {} for the name; a name's texts are averaged",
    )
    pool: Literal["mean", "best"] = Field(
        default="best",
        description="several names per class: their mean on the sphere, or the best match",
    )
    names: dict[str, list[str]] = Field(
        default={}, description="class -> names, over the dataset's own"
    )
    keep_underscores: bool = Field(default=False, description="leave '_' in class names")
    vocabulary: str | None = Field(
        default=None,
        description="file of words of other things, one on a line, for the score 'known_mass'; "
        "'#' begins a note; default: common English nouns",
    )

    @field_validator("templates")
    @classmethod
    def one_slot(cls, value: list[str]) -> list[str]:
        """The templates; ValueError unless each has one place for the name."""
        for template in value:
            if template.count("{}") != 1 or set("{}") & set(template.replace("{}", "")):
                raise ValueError(f"{template!r} needs {{}} exactly once, for the name")
        return value

    @field_validator("names")
    @classmethod
    def named(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        """The names of classes; ValueError unless each class has some, and no empty one."""
        for key, names in value.items():
            if not names or not all(name.strip() for name in names):
                raise ValueError(f"class {key!r} needs at least one name, and no empty one")
        return value


class StudentSection(Section):
    """Student network."""

    model: str = Field(
        default="mobilenet_v3_small",
        description="a registered student, another torchvision classifier, or timm/NAME",
    )
    weights: str = Field(
        default="embedded",
        description="'embedded', 'imagenet', 'imagenet-v2', 'none' (random), a file of weights, or "
        "the folder of a finished run",
    )
    size: Size = Field(
        default=224,
        description="input side in pixels; unset: 96 with embedded weights, their own side, "
        "else the side of the network's published weights, 224 where it says none",
    )
    freeze_bn: bool = Field(default=False, description="keep batch-norm statistics fixed")


class MethodSection(Section):
    """Training method and its hyper-parameters, which the method itself validates."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str = Field(description="a registered method")

    @property
    def hyper(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


class TrainSection(Section):
    """Optimisation."""

    steps: Annotated[int, Field(ge=0)] = Field(
        default=600, description="optimiser steps; 0 ships the start weights as they are"
    )
    batch_per_domain: Positive = Field(default=32, description="images per source domain and step")
    unlabelled_per_step: Positive = Field(
        default=32, description="images of data.unlabelled that join every step"
    )
    replacement: bool = Field(
        default=False, description="draw images with replacement instead of in shuffled passes"
    )
    balance: Literal["none", "class"] = Field(
        default="none",
        description="'class': every class of a domain is equally likely in a batch, however few "
        "images it has",
    )
    optimizer: Literal["sgd", "adamw", "adam"] = Field(
        default="sgd", description="'adamw' decouples the weight decay, 'adam' adds it as L2"
    )
    lr: Annotated[float, Field(gt=0)] = Field(
        default=0.02, description="learning rate after the warm-up"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=5e-4, description="of every weight, biases and batch norm included"
    )
    momentum: Share = Field(default=0.9, description="of 'sgd'")
    nesterov: bool = Field(default=True, description="Nesterov's momentum, of 'sgd'")
    schedule: Literal["constant", "cosine", "hdg"] = Field(
        default="cosine", description="'hdg': a tenth after 72% of the run, a hundredth after 92%"
    )
    double_last_decay: bool = Field(
        default=False, description="with schedule 'hdg': a thousandth after 92% of the run"
    )
    decay_per_optimizer: bool = Field(
        default=False,
        description="with schedule 'hdg': each decay as often as there are optimisers, as where "
        "two share one rate and each is decayed",
    )
    decay_after_epochs: bool = Field(
        default=False,
        description="with schedule 'hdg': decays after int(0.7 E) + 1 and int(0.9 E) + 1 of E "
        "epochs of eval_every steps, instead of 72% and 92% of the run",
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        default=20, description="steps in which the learning rate rises linearly"
    )
    average: Literal["none", "ema", "sma", "swad"] = Field(
        default="none",
        description="validate and ship the weights' exponential or plain average; 'swad': ship the "
        "plain one between two validations that the validation loss chooses",
    )
    ema_decay: Share = Field(default=0.99, description="weight of the past in 'ema'")
    sma_start: Annotated[int, Field(ge=0)] = Field(
        default=300, description="first update that 'sma' averages"
    )
    swad_start: Positive = Field(
        default=3,
        description="validations in a row of which the first is best, where 'swad' starts",
    )
    swad_end: Positive = Field(
        default=6, description="validations in a row of too large a loss, before which 'swad' ends"
    )
    swad_tolerance: Annotated[float, Field(ge=1)] = Field(
        default=1.3, description="a loss above this times that at the start of 'swad' is too large"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="'auto': bf16 where a GPU has it, else fp16 there; on a CPU fp32, or bf16 "
        "where the CPU has it and this student was measured to gain",
    )
    channels_last: bool = Field(
        default=True, description="memory layout of convolutions; faster on most devices"
    )
    compile: bool = Field(
        default=False,
        description="compile the student with torch.compile: minutes at the start, faster steps",
    )
    eval_every: Positive = Field(default=50, description="steps between source-validation passes")
    ties: Literal["latest", "first"] = Field(
        default="latest", description="which of equally good validation passes ships its weights"
    )
    wise_ft: Annotated[float, Field(gt=0, le=1)] | Literal["validation"] = Field(
        default=1.0,
        description="ship weights this share of the way from the start weights to the trained ones "
        "(WiSE-FT); 'validation': the smallest share in tenths within a standard error of the best "
        "source validation",
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="source-validation passes in a row without a better one that end the "
        "training; 0: never",
    )
    augmented_validation: bool = Field(
        default=False, description="validate on one random view of each image, not the plain image"
    )
    checkpoint_every: Positive = Field(
        default=50, description="steps that a kill may lose; Ctrl-C loses none"
    )

    @model_validator(mode="after")
    def _momentum(self) -> "TrainSection":
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; set nesterov = false")
        return self

    @model_validator(mode="after")
    def _averages(self) -> "TrainSection":
        if self.average == "sma" and self.sma_start > self.steps:
            raise ValueError(
                f"sma_start is {self.sma_start}, and the run has {self.steps} steps: nothing would "
                "be averaged; lower it"
            )
        validations = -(-self.steps // self.eval_every)
        if self.average == "swad" and self.swad_start > validations:
            raise ValueError(
                f"swad_start is {self.swad_start}, and the run has {validations} validations: its "
                "start would never be found; lower it or eval_every"
            )
        return self


class OpenSetSection(Section):
    """Openness score and threshold."""

    score: str | None = Field(
        default=None,
        description="a registered score, unset: the method's own; those that need class texts are "
        "for methods that project into the teacher's space",
    )
    keep: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.95, description="share of known source-validation images to keep"
    )
    source_unknowns: bool = Field(
        default=False,
        description="measure source validation against the images of unknown classes in the source "
        "domains too, which decide nothing",
    )


class ReportSection(Section):
    """Optional parts of the report."""

    tsne: bool = Field(
        default=False,
        description="draw the features of test images in two dimensions (t-SNE), the student's and "
        "the teacher's",
    )


class LogSection(Section):
    """Experiment trackers; another choice does not make another run."""

    to: list[str] = Field(default=[], description="registered loggers that follow the run")
    project: str = Field(
        default="edgedistill",
        min_length=1,
        description="project at 'wandb', experiment at 'mlflow'",
    )
    every: Positive = Field(default=10, description="steps between two values of a curve")


class Recipe(Section):
    """A whole experiment."""

    seed: Seed = Field(
        default=0, description="seeds the student's random weights, the batches and torch's draws"
    )
    device: str = Field(
        default="auto", description="'auto' (CUDA if there is one), 'cpu', 'cuda', 'cuda:1', 'mps'"
    )
    faithful: bool = Field(
        default=False, description="set every switch of a method to its authors' form"
    )
    data: DataSection
    views: ViewsSection = ViewsSection()
    teacher: TeacherSection = TeacherSection()
    prompts: PromptsSection = PromptsSection()
    student: StudentSection = StudentSection()
    method: MethodSection
    train: TrainSection = TrainSection()
    openset: OpenSetSection = OpenSetSection()
    report: ReportSection = ReportSection()
    log: LogSection = LogSection()
