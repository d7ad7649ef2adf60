"""Ours against the vendors' own clients, on the same bytes: the same text, finish reason and token counts."""

import aiohttp
import pytest

from message_service.messages.reply import Usage
from message_service.providers.provider import UsageReported
from tests.contract.providers.adapters import ADAPTERS
from tests.contract.providers.fault_server import FaultServer, stream_head
from tests.contract.providers.llama_server import LlamaServer
from tests.contract.providers.reading import Reading, prompt, read
from tests.contract.providers.recordings import STREAMS, dialect_of, recording
from tests.contract.providers.vendor_clients import HEARERS, Heard
from tests.contract.providers.wire_events import WHOLE, messages_reason, messages_start, messages_text, named

OURS = {adapter.dialect: adapter for adapter in (ADAPTERS["lm_studio"], ADAPTERS["openai"], ADAPTERS["anthropic"])}


def _heard(reading: Reading) -> Heard:
    assert reading.error is None
    assert reading.finished is not None
    usage = reading.events[-2]
    assert isinstance(usage, UsageReported)
    return Heard(reading.text, reading.finished.reason, usage.usage)


@pytest.mark.parametrize("name", STREAMS)
async def test_reply_is_the_same_when_the_vendors_client_reads_the_recording(
    session: aiohttp.ClientSession, fault_server: FaultServer, name: str
) -> None:
    adapter = OURS[dialect_of(name)]
    fault_server.routes[adapter.path] = [recording(name)]
    ours = await read(adapter(session, fault_server.url).stream(prompt()))
    assert _heard(ours) == await HEARERS[adapter.dialect](fault_server.url, prompt())


@pytest.mark.parametrize("dialect", WHOLE)
async def test_reply_is_the_same_when_the_vendors_client_reads_what_we_wrote(
    session: aiohttp.ClientSession, fault_server: FaultServer, dialect: str
) -> None:
    """So that the streams our other tests are made of are ones that a vendor could have sent."""
    fault_server.routes[OURS[dialect].path] = [stream_head(), *WHOLE[dialect]]
    ours = _heard(await read(OURS[dialect](session, fault_server.url).stream(prompt())))
    theirs = await HEARERS[dialect](fault_server.url, prompt())
    assert (ours.finish, ours.usage) == (theirs.finish, theirs.usage)
    assert ours.text == theirs.text == "Hello"


async def test_counts_are_the_same_when_anthropic_corrects_them_at_the_end(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes["/v1/messages"] = [
        stream_head(),
        messages_start(input_tokens=50, cache_read_input_tokens=1000, cache_creation_input_tokens=200),
        named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        messages_text("x"),
        named("content_block_stop", index=0),
        messages_reason(input_tokens=60, cache_read_input_tokens=990, output_tokens=8),
        named("message_stop"),
    ]
    ours = _heard(await read(OURS["messages"](session, fault_server.url).stream(prompt())))
    assert ours == await HEARERS["messages"](fault_server.url, prompt())
    assert ours.usage == Usage(1250, 8, cached_input_tokens=990, cache_write_tokens=200)


@pytest.mark.llama
@pytest.mark.parametrize("dialect", OURS)
async def test_reply_is_the_same_when_both_ask_a_running_model(
    session: aiohttp.ClientSession, llama: LlamaServer, dialect: str
) -> None:
    """Without chance in sampling; the prompt is cached by a first reply, so both count the same."""
    asked = prompt("a b c d " * 20, max_output_tokens=60, temperature=0.0)
    provider = OURS[dialect](session, llama.url)
    await read(provider.stream(asked))
    ours = _heard(await read(provider.stream(asked)))
    theirs = await HEARERS[dialect](llama.url, asked)
    assert (ours.finish, ours.usage) == (theirs.finish, theirs.usage)
    assert ours.usage.output_tokens > 1
    if dialect != "messages":  # the newer version of that API takes no temperature from us or them
        assert ours.text == theirs.text
