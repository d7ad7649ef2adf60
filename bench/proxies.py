"""What stands between a client and the same model server elsewhere: LiteLLM's proxy, and a route on the OpenAI SDK."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.peer import peer_python
from bench.processes import ServerProcess, free_port
from bench.stack import Upstream, clean_environment
from bench.upstream import MODEL

_LITELLM_START_SECONDS = 240
"""It imports for most of a minute on a quiet machine."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Speaks OpenAI's chat completions."""

    name: str
    port: int
    pid: int
    key: str = "none"


@contextmanager
def serve_litellm(upstream: Upstream) -> Iterator[Proxy]:
    """One process, without its database, its price list from its own files."""
    port, key = free_port(), f"sk-{secrets.token_hex(16)}"
    python = peer_python("litellm")
    configuration = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": f"http://127.0.0.1:{upstream.port}/v1",
                    "api_key": "none",
                },
            }
        ]
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "litellm.yaml"
        path.write_bytes(orjson.dumps(configuration))  # JSON is YAML
        command = [python, str(Path(python).with_name("litellm")), "--config", str(path), "--host", "127.0.0.1"]
        environment = clean_environment() | {
            "LITELLM_MASTER_KEY": key,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
        }
        with ServerProcess(
            "LiteLLM's proxy", [*command, "--port", str(port), "--telemetry", "False"], environment
        ) as it:
            it.wait_until_ready(f"http://127.0.0.1:{port}/health/liveliness", _LITELLM_START_SECONDS)
            yield Proxy("LiteLLM", port, it.pid, key)


@contextmanager
def serve_openai_sdk(upstream: Upstream) -> Iterator[Proxy]:
    port = free_port()
    command = [peer_python("openai"), "-m", "uvicorn", "bench.peers.openai_proxy:app", "--port", str(port)]
    environment = clean_environment() | {"BENCH_UPSTREAM_URL": f"http://127.0.0.1:{upstream.port}/v1"}
    with ServerProcess("the OpenAI SDK", [*command, "--no-access-log"], environment) as proxy:
        proxy.wait_until_ready(f"http://127.0.0.1:{port}/health", 60)
        yield Proxy("OpenAI SDK", port, proxy.pid)
