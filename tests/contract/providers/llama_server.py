"""Runs llama.cpp's server with a tiny model, for recordings and for the live half of the contract."""

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract.providers.tiny_gguf import tiny_gguf

BINARY_VARIABLE = "MESSAGE_SERVICE_TEST_LLAMA_SERVER"
SLOT_CONTEXT_TOKENS = 1024
_START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class LlamaServer:
    url: str
    pid: int


def llama_binary() -> Path | None:
    """The server to run, where somebody built one and says so."""
    path = os.environ.get(BINARY_VARIABLE)
    return Path(path) if path else None


@contextmanager
def llama_server(
    binary: Path,
    *,
    api_key: str | None = None,
    slot_context_tokens: int = SLOT_CONTEXT_TOKENS,
    ends_by_itself: bool = True,
) -> Iterator[LlamaServer]:
    """A running server with two slots; gone at the end.

    How long the tiny model's replies are depends on the processor, unless it is kept from ending any.
    """
    with tempfile.TemporaryDirectory(prefix="message-service-llama-") as folder:
        model = Path(folder, "tiny.gguf")
        model.write_bytes(tiny_gguf())
        port = _free_port()
        options = ["-m", str(model), "-a", "tiny", "--host", "127.0.0.1", "--port", str(port)]
        options += ["-c", str(2 * slot_context_tokens), "-np", "2", "--slots", "--seed", "7"]
        options += ["--api-key", api_key] if api_key else []
        options += [] if ends_by_itself else ["--ignore-eos"]
        process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_healthy(url, process)
            yield LlamaServer(url, process.pid)
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"llama-server did not start (exit status {process.poll()})")
