"""EdgeDistill: CLIP distilled into small classifiers that know when to answer *unknown*.

The public API, imported name by name when it is first used (PEP 562): `import edgedistill` loads
neither torch nor NumPy, and what a device needs does not need the `train` extra.

Example:
    >>> import edgedistill as ed
    >>> run = ed.run("recipe.toml", out="runs/a", overrides={"train.lr": 1e-3})
    >>> run.metrics["target"]["domain"], len(run.history)
    ('sea', 2)
    >>> exported = ed.load_run("runs/a").export("student.onnx")
    >>> prediction = ed.Classifier("student.onnx").predict("x.jpg")
    >>> prediction.known == (prediction.score >= run.threshold)
    True
"""

# As in `typing`, which would be most of the time that `import edgedistill` takes.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from edgedistill import callbacks as callbacks
    from edgedistill import errors as errors
    from edgedistill import runtime as runtime
    from edgedistill._utils.console import ConsoleCallback as ConsoleCallback
    from edgedistill.api import list_benchmarks as list_benchmarks
    from edgedistill.api import list_datasets as list_datasets
    from edgedistill.api import list_exporters as list_exporters
    from edgedistill.api import list_loggers as list_loggers
    from edgedistill.api import list_methods as list_methods
    from edgedistill.api import list_scores as list_scores
    from edgedistill.api import list_students as list_students
    from edgedistill.api import register_dataset as register_dataset
    from edgedistill.api import register_exporter as register_exporter
    from edgedistill.api import register_logger as register_logger
    from edgedistill.api import register_method as register_method
    from edgedistill.api import register_score as register_score
    from edgedistill.api import register_student as register_student
    from edgedistill.bench.outputs import BenchmarkOutputs as BenchmarkOutputs
    from edgedistill.bench.run import Benchmark as Benchmark
    from edgedistill.bench.run import benchmark as benchmark
    from edgedistill.callbacks import Callback as Callback
    from edgedistill.callbacks import LoggingCallback as LoggingCallback
    from edgedistill.data.info import benchmark_info as benchmark_info
    from edgedistill.data.info import dataset_info as dataset_info
    from edgedistill.errors import EdgeDistillError as EdgeDistillError
    from edgedistill.pretraining.start import Pretrained as Pretrained
    from edgedistill.pretraining.start import pretrain as pretrain
    from edgedistill.recipe import Recipe as Recipe
    from edgedistill.recipe import load_recipe as load_recipe
    from edgedistill.runs.caches import list_caches as list_caches
    from edgedistill.runs.clear import clear_caches as clear_caches
    from edgedistill.runs.compare import compare as compare
    from edgedistill.runs.init import Scaffold as Scaffold
    from edgedistill.runs.init import init as init
    from edgedistill.runs.recipe_caches import build_caches as build_caches
    from edgedistill.runs.recipe_caches import verify_caches as verify_caches
    from edgedistill.runs.result import Run as Run
    from edgedistill.runs.result import load_run as load_run
    from edgedistill.runs.start import run as run
    from edgedistill.runs.teacher import evaluate_teacher as evaluate_teacher
    from edgedistill.runtime import Classifier as Classifier
    from edgedistill.runtime import Prediction as Prediction
    from edgedistill.runtime.find import find_images as find_images
    from edgedistill.sweep.run import plan_sweep as plan_sweep
    from edgedistill.sweep.run import run_sweep as run_sweep

__version__ = "0.1.0"

# Where each public name lives; a name without a home is a module.
_HOMES = {
    "Benchmark": "bench.run",
    "BenchmarkOutputs": "bench.outputs",
    "Callback": "callbacks",
    "Classifier": "runtime",
    "ConsoleCallback": "_utils.console",
    "EdgeDistillError": "errors",
    "LoggingCallback": "callbacks",
    "Prediction": "runtime",
    "Pretrained": "pretraining.start",
    "Recipe": "recipe",
    "Run": "runs.result",
    "Scaffold": "runs.init",
    "benchmark": "bench.run",
    "benchmark_info": "data.info",
    "build_caches": "runs.recipe_caches",
    "callbacks": "",
    "clear_caches": "runs.clear",
    "compare": "runs.compare",
    "dataset_info": "data.info",
    "errors": "",
    "evaluate_teacher": "runs.teacher",
    "find_images": "runtime.find",
    "init": "runs.init",
    "list_benchmarks": "api",
    "list_caches": "runs.caches",
    "list_datasets": "api",
    "list_exporters": "api",
    "list_loggers": "api",
    "list_methods": "api",
    "list_scores": "api",
    "list_students": "api",
    "load_recipe": "recipe",
    "load_run": "runs.result",
    "plan_sweep": "sweep.run",
    "pretrain": "pretraining.start",
    "register_dataset": "api",
    "register_exporter": "api",
    "register_logger": "api",
    "register_method": "api",
    "register_score": "api",
    "register_student": "api",
    "run": "runs.start",
    "run_sweep": "sweep.run",
    "runtime": "",
    "verify_caches": "runs.recipe_caches",
}

__all__ = ["__version__", *_HOMES]

if not TYPE_CHECKING:

    def __getattr__(name):
        import importlib

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if not _HOMES[name]:
            return importlib.import_module(f"{__name__}.{name}")

        from edgedistill._utils.extras import needs_extra

        with needs_extra("train", f"edgedistill.{name}"):
            return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __dir__():
        return sorted(__all__)
