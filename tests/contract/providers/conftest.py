"""The servers that providers are held against."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from message_service.providers.connections import provider_session
from tests.contract.providers.aimock import AimockUnavailable, aimock
from tests.contract.providers.fault_server import FaultServer
from tests.contract.providers.llama_server import BINARY_VARIABLE, LlamaServer, llama_binary, llama_server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with provider_session() as opened:
        yield opened


@pytest.fixture
async def fault_server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as server:
        yield server


@pytest.fixture(scope="session")
def aimock_url() -> Iterator[str]:
    try:
        with aimock() as url:
            yield url
    except AimockUnavailable as reason:
        pytest.skip(f"aimock is not available: {reason}")


@pytest.fixture(scope="session")
def llama_binary_path() -> Path:
    binary = llama_binary()
    if binary is None:
        pytest.skip(f"{BINARY_VARIABLE} is not set: `make test-llama` builds a server and sets it")
    return binary


@pytest.fixture(scope="module")
def llama(llama_binary_path: Path) -> Iterator[LlamaServer]:
    with llama_server(llama_binary_path) as server:
        yield server
