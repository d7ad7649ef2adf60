"""What `record_llama.py` recorded, and what it means by the plainest reading there is."""

import json
from pathlib import Path

RECORDINGS = Path(__file__).with_name("recordings")
STREAMS = ("short", "stopped", "multibyte", "context_end")


def recording(name: str) -> bytes:
    """The bytes of one answer as they came off the wire."""
    return Path(RECORDINGS, f"{name}.http").read_bytes()


def stream_body(name: str) -> bytes:
    """The body of a recorded stream, out of its HTTP chunks."""
    rest = recording(name).partition(b"\r\n\r\n")[2]
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


def chunks(name: str) -> list[dict[str, object]]:
    """The JSON of each event, read line by line."""
    lines = stream_body(name).decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def text_of(name: str) -> str:
    """The reply's whole text."""
    deltas = [choice["delta"] for chunk in chunks(name) for choice in chunk["choices"]]  # type: ignore[attr-defined]  # plain JSON
    return "".join(delta.get("content") or "" for delta in deltas)
