"""A small result of a benchmark: three files, two settings, one baseline."""

from __future__ import annotations

from typing import Any

import pytest

from edgedistill.bench.result import QUALITY_METRICS, Result


def _timing(p50: float, batch: int, calls: int = 200) -> dict[str, Any]:
    return {
        "p50_ms": p50,
        "p95_ms": round(1.2 * p50, 4) if calls >= 20 else None,
        "p99_ms": round(1.5 * p50, 4) if calls >= 100 else None,
        "rounds_ms": [round(share * p50, 4) for share in (0.98, 1, 1.03, 1.01, 0.99, 1)],
        "spread": 0.05,
        "calls": calls,
        "images_per_second": 1000 * batch / p50,
    }


def _latency(p50: float, calls: int = 200) -> list[dict[str, Any]]:
    return [
        {
            "threads": 1,
            "batch": batch,
            "model": _timing(p50 * scale, batch, calls),
            "decision": _timing(p50 * scale + 3 * batch, batch, calls),
        }
        for batch, scale in ((1, 1.0), (8, 8.0))
    ]


def _quality(h_score: float, metrics: dict[str, float]) -> dict[str, Any]:
    values = {metric: 0.7 for metric in QUALITY_METRICS} | {"fpr95": 0.4} | metrics
    values |= {"h_score": h_score}
    return {
        "data": "recipes/tiny.toml",
        "target": "sea",
        "own_target": "sea",
        "known": 203,
        "unknown": 321,
        "unreadable": 1,
        "unknown_classes": ["star", "moon"],
        "resamples": 2000,
        "threshold": 0.25,
        **{
            metric: {
                "value": value,
                "low": round(value - 0.041, 3),
                "high": round(value + 0.039, 3),
            }
            for metric, value in values.items()
        },
    }


def _model(
    name: str,
    *,
    student: str = "mobilenet_v3_small",
    method: str = "scipd",
    precision: str = "fp32",
    size: int,
    parameters: int | None,
    p50: float,
    h_score: float,
    calls: int = 200,
    **metrics: float,
) -> dict[str, Any]:
    return {
        "name": name,
        "path": f"/runs/tiny/{name}",
        "sha256": "0" * 64,
        "bytes": size,
        "contract": {
            "student": student,
            "method": method,
            "classes": ["circle", "square"],
            "precision": precision,
            "size": 64,
            "score": "max_cosine",
            "threshold": 0.25,
        },
        "parameters": parameters,
        "macs": 5_200_000,
        "providers": ["CPUExecutionProvider"],
        "quality": _quality(h_score, metrics),
        "latency": _latency(p50, calls),
        "cold_start": {"median_s": 0.41, "values_s": [0.4, 0.41, 0.44], "user_cpu_s": 0.38},
        "peak_memory_bytes": 96_000_000,
    }


def _ratio(value: float, verdict: str) -> dict[str, Any]:
    return {"value": value, "low": value - 0.02, "high": value + 0.03, "verdict": verdict}


def _comparison(
    name: str, ratio: float, verdict: str, **given: tuple[float, float, float, float]
) -> dict[str, Any]:
    none = {"value": 0.0, "low": -0.02, "high": 0.02, "p": 1.0}
    return {
        "model": name,
        "baseline": "student.onnx",
        "latency": [
            {
                "threads": 1,
                "batch": batch,
                "model": _ratio(ratio, verdict),
                "decision": _ratio(1.0, "not ranked"),
            }
            for batch in (1, 8)
        ],
        "quality": {
            **{metric: none for metric in QUALITY_METRICS},
            **{
                metric: dict(zip(("value", "low", "high", "p"), numbers, strict=True))
                for metric, numbers in given.items()
            },
        },
    }


@pytest.fixture
def bench_result() -> Result:
    """student.onnx, its int8 file, and another method's file that is worse and slower."""
    result: Any = {
        "schema": 1,
        "machine": {
            "cpu": "Example CPU @ 2.40GHz",
            "arch": "x86_64",
            "cores": 4,
            "flags": ["avx2", "avx512_vnni"],
            "governor": None,
            "load_before": 0.12,
            "load_after": 0.9,
            "steal": 0.0,
            "os": "Linux-6.1",
            "python": "3.11.9",
            "numpy": "2.1.0",
            "onnxruntime": "1.20.0",
            "edgedistill": "0.1.0",
            "date": "2026-01-02T03:04:05+00:00",
        },
        "method": {
            "rounds": 6,
            "warm_up": 3,
            "round_seconds": 0.2,
            "calls_per_round": [10, 100],
            "starts": 3,
            "threads": [1],
            "batch": [1, 8],
            "image": "640x480 JPEG, 57000 bytes, made up",
        },
        "baseline": "student.onnx",
        "models": [
            _model(
                "student.onnx",
                size=4_314_051,
                parameters=1_076_000,
                p50=1.1,
                h_score=0.681,
                auroc=0.88,
            ),
            _model(
                "student-int8.onnx",
                precision="int8",
                size=1_309_961,
                parameters=1_076_000,
                p50=0.71,
                h_score=0.672,
                auroc=0.878,
            ),
            _model(
                "other.onnx",
                method="erm",
                size=4_100_000,
                parameters=None,
                p50=1.12,
                h_score=0.62,
                calls=12,
                auroc=0.71,
                fpr95=0.5,
            ),
        ],
        "comparisons": [
            _comparison(
                "student-int8.onnx",
                0.65,
                "faster",
                h_score=(-0.009, -0.021, 0.004, 0.21),
                auroc=(-0.002, -0.006, 0.003, 0.5),
            ),
            _comparison(
                "other.onnx",
                1.02,
                "not ranked",
                h_score=(-0.061, -0.093, -0.028, 0.001),
                auroc=(-0.17, -0.2, -0.14, 0.0009),
                fpr95=(0.1, 0.06, 0.14, 0.0009),
            ),
        ],
        "noise": {
            "verdict": "quiet",
            "worst": 0.02,
            "limit": 0.05,
            "settings": [
                {
                    "threads": 1,
                    "batch": batch,
                    "model": {"value": 1.0, "low": 0.99, "high": 1.02, "noise": 0.02},
                    "decision": {"value": 1.0, "low": 0.99, "high": 1.01, "noise": 0.01},
                }
                for batch in (1, 8)
            ],
        },
    }
    return result
