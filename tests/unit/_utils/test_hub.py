"""The hub's client works from its cache where the hub has no address."""

from __future__ import annotations

import socket

import pytest
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.file_download import hf_hub_download

from edgedistill._utils.hub import hub_unless_unreachable

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was connected to; every connection fails."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    asked: list[object] = []

    def refuse(address: object, timeout: float) -> None:
        asked.append(address)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return asked


def test_an_unreachable_hub_is_asked_once_and_not_retried(
    connections: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_wait(seconds: float) -> None:
        pytest.fail(f"waited {seconds} s for a retry")

    monkeypatch.setattr("time.sleep", no_wait)
    with hub_unless_unreachable() as reason:
        assert "Name or service not known" in reason
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download("no-such/model-of-a-test", "model.safetensors")
        assert try_to_load_from_cache("no-such/model-of-a-test", "model.safetensors") is None
    assert len(connections) == 1
    assert not constants.HF_HUB_OFFLINE


def test_a_proxy_is_left_to_the_client(
    connections: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with hub_unless_unreachable() as reason:
        assert reason == "" and not constants.HF_HUB_OFFLINE
    assert not connections
