"""Hugging Face's hub: whether it can be reached, asked once instead of by every retry."""

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0


@contextmanager
def hub_unless_unreachable() -> Iterator[str]:
    """Inside the block, the hub's client reads its cache alone where the hub cannot be reached.

    The client retries a host without an address or route for 24 seconds per file. Yields why the
    hub cannot be reached, "" where it can or where only a proxy could tell.
    """
    # Imported here: a second that work without the hub does not wait for.
    from huggingface_hub import constants

    reason = _connection_error(constants.ENDPOINT)
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or bool(reason)
    try:
        yield reason
    finally:
        constants.HF_HUB_OFFLINE = before


def _connection_error(endpoint: str) -> str:
    url = urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    if url.hostname is None or url.scheme in proxies or "all" in proxies:
        return ""
    port = url.port or (80 if url.scheme == "http" else 443)
    try:
        socket.create_connection((url.hostname, port), CONNECT_SECONDS).close()
    except OSError as error:
        return f"{url.hostname}: {error.strerror or error}"
    return ""


def is_offline_error(error: BaseException | None) -> bool:
    """Whether an error, or one that it followed from, is that of a client kept from the hub."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    while error is not None:
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            return True
        error = error.__cause__ or error.__context__
    return False
