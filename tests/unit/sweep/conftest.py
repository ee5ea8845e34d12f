"""A small sweep file, runs that are finished without being run, and a Ray cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.plan import Plan, make_plan

RECIPE = """
[data]
target = "line"
[method]
name = "scipd"
alpha = 0.5
"""


@pytest.fixture
def sweep_of(tmp_path: Path) -> Callable[[str], Path]:
    """Write a sweep file beside two recipes, `base.toml` (SCI-PD) and `other.toml` (SCMD)."""

    def write(text: str) -> Path:
        (tmp_path / "base.toml").write_text(RECIPE)
        scmd = RECIPE.replace("scipd", "scmd").replace("alpha = 0.5", "temperature = 2.5")
        (tmp_path / "other.toml").write_text(scmd)
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def plan_of(sweep_of: Callable[[str], Path]) -> Callable[[str], Plan]:
    return lambda text: make_plan(sweep_of(text))


@pytest.fixture
def finish() -> Callable[..., None]:
    """Leave behind what a finished run leaves, with some metrics of the target."""

    def write(folder: SweepFolder, name: str, val: float = 0.5, **target: Any) -> None:
        path = folder.run(name)
        path.mkdir(parents=True, exist_ok=True)
        (path / "history.csv").write_text(f"step,val_accuracy\n1,0.1\n2,{val}\n3,0.2\n")
        metrics = {
            "target": {"domain": "line", **target},
            "source_val": {"accuracy": val},
            "openset": {"score": "max_logit", "threshold": 0.25},
            "teacher": {"accuracy": 0.75, "h_score": None},
            "seconds": 10.0,
        }
        (path / "metrics.json").write_text(json.dumps(metrics))

    return write


def _started(start: Callable[[], Any]) -> Any:
    """Ray gives up a node that is not there after seconds, which a loaded machine may not keep.

    Without nodes there is nothing of ours to test.
    """
    reason = ""
    for _ in range(4):
        try:
            return start()
        except Exception as error:
            reason = str(error)
    pytest.skip(f"Ray does not start a node here: {reason}")


class TwoNodes:
    """A Ray cluster of two nodes of this machine, one CPU each; `second` may be removed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._node = {
            "num_cpus": 1,
            "num_gpus": 0,
            "object_store_memory": 80 * 2**20,
            "include_log_monitor": False,
        }
        head = {
            **self._node,
            "include_dashboard": False,
            # A node that is gone is missed within seconds, one that is only slow never.
            "_system_config": {
                "health_check_initial_delay_ms": 1000,
                "health_check_period_ms": 1000,
                "health_check_timeout_ms": 600_000,
                "worker_register_timeout_seconds": 600,
            },
        }
        self.cluster = _started(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.address: str = self.cluster.address
        self.second: Any = None

    def complete(self) -> None:
        """Add the second node where it is missing."""
        if self.second is None:
            self.second = _started(lambda: self.cluster.add_node(**self._node))

    def lose_second(self) -> None:
        """As when its plug is pulled."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None


@pytest.fixture(scope="session")
def ray_cluster(private_cache: Path) -> Iterator[TwoNodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        nodes = TwoNodes()
        yield nodes
        nodes.cluster.shutdown()


@pytest.fixture
def two_nodes(ray_cluster: TwoNodes) -> TwoNodes:
    ray_cluster.complete()
    return ray_cluster
