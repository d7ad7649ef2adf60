"""Records what a real llama.cpp server sends, byte for byte, into `recordings/`.

MESSAGE_SERVICE_TEST_LLAMA_SERVER=/path/to/llama-server python -m tests.contract.providers.record_llama
"""

import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from message_service.messages.message import Role
from message_service.providers import anthropic_messages, chat_completions, responses
from message_service.providers.provider import Prompt, Turn
from message_service.providers.reply_stream import to_json
from tests.contract.providers.llama_server import BINARY_VARIABLE, llama_binary, llama_server
from tests.contract.providers.recordings import RECORDINGS

API_KEY = "a-key-for-tests"


def prompt(text: str, *, max_output_tokens: int, stop: tuple[str, ...] = ()) -> Prompt:
    return Prompt(
        instructions="You are Mira.",
        turns=(Turn(Role.USER, text),),
        prompt_tokens=20,
        max_output_tokens=max_output_tokens,
        temperature=0.8,
        stop=stop,
    )


PROMPTS = {
    "short": prompt("Hello", max_output_tokens=6),
    "stopped": prompt("Hello", max_output_tokens=400, stop=("🚀",)),
    "multibyte": prompt("Grüße aus 日本 😀", max_output_tokens=80),
    "context_end": prompt("a b c d " * 110, max_output_tokens=2000),
    "overflow": prompt("a b c d " * 1000, max_output_tokens=20),
}


def exchange(url: str, method: str, path: str, body: bytes = b"", *, api_key: str | None = None) -> bytes:
    """The answer as it comes off the wire, head included."""
    address = urlsplit(url)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address.netloc}", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"Authorization: Bearer {api_key}"] if api_key else []
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = bytearray()
        while piece := connection.recv(65_536):
            answer += piece
    return bytes(answer)


def bodies(asked: Prompt) -> dict[str, tuple[str, bytes]]:
    """By dialect: the address and the body that our own adapters would send."""
    return {
        "chat": ("/v1/chat/completions", to_json("p", chat_completions.request_body(asked, "tiny"))),
        "responses": ("/v1/responses", to_json("p", responses.request_body(asked, "tiny", effort=None))),
        "messages": (
            "/v1/messages",
            to_json("p", anthropic_messages.request_body(asked, "tiny", thinking=None, provider="p")),
        ),
    }


def record() -> dict[str, bytes]:
    """All recordings by name. Raises `SystemExit` without a server to record."""
    binary = llama_binary()
    if binary is None:
        raise SystemExit(f"Set {BINARY_VARIABLE} to a llama-server binary.")
    taken = {}
    with llama_server(binary) as server:
        for name, asked in PROMPTS.items():
            for dialect, (path, body) in bodies(asked).items():
                taken[f"{dialect}_{name}"] = exchange(server.url, "POST", path, body)
        taken["models"] = exchange(server.url, "GET", "/v1/models")
        taken["unknown_path"] = exchange(server.url, "GET", "/api/v1/models")
    with llama_server(binary, api_key=API_KEY) as server:
        for dialect, (path, body) in bodies(PROMPTS["short"]).items():
            taken[f"{dialect}_unauthorized"] = exchange(server.url, "POST", path, body, api_key="another")
    return taken


def main() -> None:
    RECORDINGS.mkdir(exist_ok=True)
    for name, answer in record().items():
        Path(RECORDINGS, f"{name}.http").write_bytes(answer)
        sys.stdout.write(f"{name}: {len(answer)} bytes\n")


if __name__ == "__main__":
    main()
