"""Words for what a run was tested on, the same in terminal, report and tables."""

from collections.abc import Mapping
from typing import Any


def tested_on(metrics: Mapping[str, Any]) -> str:
    """Noun phrase for the test images of a run, from its metrics.json.

    "unseen domain NAME", "held-out images of the same domain" (or "domains"), "images without
    labels in NAME" or "no image". Runs of earlier versions, which have no "test_kind", held a
    domain out.
    """
    kind = metrics.get("test_kind", "unseen domain")
    if kind == "held-out":
        several = len(metrics.get("sources") or ()) > 1
        return f"held-out images of the same domain{'s' if several else ''}"
    if kind == "unlabelled":
        return f"images without labels in {(metrics.get('unlabelled') or {}).get('domain')}"
    if kind == "none":
        return "no image"
    return f"unseen domain {(metrics.get('target') or {}).get('domain', 'target')}"
