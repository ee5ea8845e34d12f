import numpy as np
import pytest
from scipy.special import softmax

from edgedistill.openset import Outputs, ProbabilityRange, calibrate, evaluate
from edgedistill.report import ReportData, SampleImages, sample_rows

KNOWN = ("<script>alert(1)</script>", "sky_weather", 'x" onerror="alert(2)', "$100$ & more")


def build(*, unknown: float = 0.3, n: int = 80, history: int = 50) -> ReportData:
    """A finished run with class names that try to break out of the page."""
    rng = np.random.default_rng(5)

    def outputs(count: int, share: float) -> Outputs:
        labels = rng.integers(0, len(KNOWN), size=count)
        logits = rng.normal(size=(count, len(KNOWN)))
        stranger = rng.random(count) < share
        logits[np.arange(count), labels] += np.where(stranger, 0, 3)
        probabilities = softmax(logits, axis=1)
        return Outputs(
            logits.argmax(axis=1),
            probabilities.max(axis=1),
            ProbabilityRange.of(probabilities),
            np.where(stranger, -1, labels),
        )

    val, target = outputs(60, 0.0), outputs(n, unknown)
    threshold = calibrate(val.scores, 0.9)
    scores = target.scores
    accepted = scores >= threshold
    rows = sample_rows(target.labels, target.predictions, accepted, per_kind=3)
    names = [KNOWN[label] if label >= 0 else "<b>stranger</b>" for label in target.labels]
    return ReportData(
        name="run <1>",
        metrics={
            "target": {
                "domain": "camera & co",
                **evaluate(target, threshold=threshold, known=KNOWN),
            },
            "source_val": {"accuracy": 0.97},
            "teacher": {"target_accuracy": 0.912},
            "openset": {"score": "max_softmax", "threshold": threshold, "acceptance": 0.9},
            "seconds": 3725.0,
        },
        history=[
            {
                "step": step,
                "loss": 2 / (step + 1),
                "cross_modal": 1 / (step + 1),
                "lr": 0.01,
                "val_accuracy": 0.5 if step % 10 == 0 else None,
            }
            for step in range(history)
        ],
        known=KNOWN,
        source_val_scores=val.scores,
        source_val_correct=val.predictions == val.labels,
        target_scores=scores,
        target_labels=target.labels,
        target_predictions=target.predictions,
        samples=SampleImages(
            images=rng.integers(0, 256, size=(len(rows), 16, 20, 3)).astype(np.uint8),
            names=[names[row] for row in rows],
            labels=target.labels[rows],
            predictions=target.predictions[rows],
            scores=scores[rows],
            accepted=accepted[rows],
        ),
        recipe='[method]\nname = "scipd"  # <&>\n',
        environment={"python": "3.11", "cpu": {"cores": 2}, "flags": ["avx2", "fma"]},
    )


@pytest.fixture(scope="session")
def data() -> ReportData:
    return build()
