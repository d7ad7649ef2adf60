"""A lean closed-loop HTTP/1.1 load generator: N keep-alive connections, each sends when the last answer is in.

Runs in a process of its own: `python -m bench.load` reads a `Plan` as JSON on standard input and writes a `Measured`.
"""

import asyncio
import gc
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import cast

import orjson
import uvloop
from pydantic import TypeAdapter

from bench.processes import cpu_seconds
from bench.traffic import Traffic, requests

STALLED_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    port: int
    connections: int
    warm_up_seconds: float
    measure_seconds: float
    traffic: Traffic
    server_pids: tuple[int, ...]
    """Processes whose CPU time is charged to the requests, with their descendants."""
    store_pids: tuple[int, ...] = ()
    """The database servers behind them, charged apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_us: float
    """CPU time of the server processes per request."""
    store_cpu_us: float
    client_cpu_us: float
    response_bytes: float
    """Mean body length of the answers."""


class UnexpectedAnswer(RuntimeError):
    """A request was not answered as it must be, so the measurement is void."""


class _Window:
    """What all connections share: where requests come from, whether time counts, and what was seen."""

    def __init__(self, source: Iterator[bytes], expected_status: int, fault: asyncio.Future[None]) -> None:
        self.source = source
        self.expected_status = expected_status
        self.fault = fault
        self.connections_open = 0
        self.is_open = False
        self.is_over = False
        self.latencies: list[float] = []
        self.body_bytes = 0

    def fail(self, error: Exception) -> None:
        if not self.fault.done():
            self.fault.set_exception(error)


class _Connection(asyncio.Protocol):
    """One keep-alive connection. Understands answers framed by Content-Length, which is all it expects."""

    _transport: asyncio.Transport

    def __init__(self, window: _Window) -> None:
        self._window = window
        self._received = b""
        self._expected_length = 0
        self._head_length = 0
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it
        self._window.connections_open += 1
        self._send()

    def _send(self) -> None:
        request = next(self._window.source)
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, received: bytes) -> None:
        self._received = received = self._received + received if self._received else received
        if not self._expected_length and not self._read_head(received):
            return
        if len(received) >= self._expected_length:
            self._complete()

    def _read_head(self, received: bytes) -> bool:
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = received[:end].lower()
        start = head.find(b"\r\ncontent-length:")
        status = int(head[9:12])
        if status != self._window.expected_status or start < 0:
            self._window.fail(UnexpectedAnswer(received[:2000].decode(errors="replace")))
            return False
        stop = head.find(b"\r", start + 2)
        self._head_length = end + 4
        self._expected_length = end + 4 + int(head[start + 17 : stop if stop > 0 else end])
        return True

    def _complete(self) -> None:
        window = self._window
        if window.is_open:
            window.latencies.append(time.perf_counter() - self._sent_at)
            window.body_bytes += self._expected_length - self._head_length
        self._received = b""
        self._expected_length = 0
        if window.is_over:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._window.connections_open -= 1
        if not self._window.is_over:
            self._window.fail(UnexpectedAnswer(f"the server closed a connection: {exc}"))


async def generate(plan: Plan) -> Measured:
    """Raises `UnexpectedAnswer` as soon as one answer has another status than it must have, or none comes."""
    loop = asyncio.get_running_loop()
    window = _Window(requests(plan.traffic), plan.traffic.expected_status, loop.create_future())
    for _ in range(plan.connections):
        await loop.create_connection(lambda: _Connection(window), "127.0.0.1", plan.port)
    await _unless_failed(window, plan.warm_up_seconds)
    gc.freeze()
    window.is_open = True
    before = _readings(plan)
    await _unless_failed(window, plan.measure_seconds)
    window.is_open = False
    elapsed, server_cpu, store_cpu, client_cpu = (b - a for a, b in zip(before, _readings(plan), strict=True))
    await _finish(window)
    count = len(window.latencies)
    if count == 0:
        raise UnexpectedAnswer("no answer came in the measured time")
    ordered = sorted(window.latencies)
    return Measured(
        requests=count,
        requests_per_second=count / elapsed,
        p50_ms=ordered[count // 2] * 1000,
        p99_ms=ordered[min(count - 1, count * 99 // 100)] * 1000,
        server_cpu_us=server_cpu / count * 1e6,
        store_cpu_us=store_cpu / count * 1e6,
        client_cpu_us=client_cpu / count * 1e6,
        response_bytes=window.body_bytes / count,
    )


async def _unless_failed(window: _Window, seconds: float) -> None:
    await asyncio.wait([window.fault], timeout=seconds)
    if window.fault.done():
        window.is_over = True
        window.fault.result()


async def _finish(window: _Window) -> None:
    """Let what is under way be answered, so that it does not burden the next measurement."""
    window.is_over = True
    deadline = time.perf_counter() + STALLED_SECONDS
    while window.connections_open:
        if time.perf_counter() > deadline:
            raise UnexpectedAnswer(f"{window.connections_open} requests were never answered")
        await asyncio.sleep(0.01)
    if window.fault.done():
        window.fault.result()


def _readings(plan: Plan) -> tuple[float, float, float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (
        time.perf_counter(),
        cpu_seconds(plan.server_pids),
        cpu_seconds(plan.store_pids),
        used.ru_utime + used.ru_stime,
    )


def main() -> None:
    plan = TypeAdapter(Plan).validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(orjson.dumps(asdict(uvloop.run(generate(plan)))))


if __name__ == "__main__":
    main()
