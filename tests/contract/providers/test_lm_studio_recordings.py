"""What llama.cpp really sends, played again, against the plainest reading of it."""

import aiohttp
import pytest

from message_service.errors import StreamCut
from message_service.messages.reply import FinishReason
from message_service.providers.chat_completions import ChatStream
from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.provider import Finished, Started, TextDelta, UsageReported
from message_service.providers.sse import SseParser
from tests.contract.providers.fault_server import FaultServer
from tests.contract.providers.reading import assert_in_contract, prompt, read
from tests.contract.providers.recordings import STREAMS, chunks, recording, stream_body, text_of

REASONS = {
    "short": FinishReason.LENGTH,
    "stopped": FinishReason.STOP,
    "multibyte": FinishReason.LENGTH,
    "context_end": FinishReason.LENGTH,
}


@pytest.mark.parametrize("name", STREAMS)
async def test_reply_is_what_was_recorded_when_it_is_played_again(
    session: aiohttp.ClientSession, fault_server: FaultServer, name: str
) -> None:
    fault_server.routes["/v1/chat/completions"] = [recording(name)]
    provider = LmStudioProvider(session, fault_server.url, None, "tiny", 20, 20)
    reading = await read(provider.stream(prompt()))
    assert_in_contract(reading)
    assert reading.events[0] == Started("lm_studio", "tiny")
    assert reading.text == text_of(name)
    assert reading.finished == Finished(REASONS[name])
    counted = chunks(name)[-1]["usage"]
    assert isinstance(counted, dict)
    usage = reading.events[-2]
    assert isinstance(usage, UsageReported)
    assert usage.usage.input_tokens == counted["prompt_tokens"]
    assert usage.usage.output_tokens == counted["completion_tokens"]


def test_recordings_hold_what_they_are_for_when_they_are_made_again() -> None:
    assert any(ord(character) > 0xFFFF for character in text_of("multibyte"))
    assert any(0x7F < ord(character) <= 0xFFFF for character in text_of("multibyte"))
    assert any(b"\\u" not in line and not line.isascii() for line in stream_body("multibyte").splitlines())


@pytest.mark.parametrize("name", STREAMS)
def test_reply_never_ends_well_when_its_body_is_cut_before_the_end_marker(name: str) -> None:
    """At every byte of the body, as if the connection had ended there without any fault."""
    body = stream_body(name)
    event_end = body.index(b"\n\n", body.index(b'"finish_reason":"')) + 2
    parser, stream, text = SseParser(), ChatStream("p", "tiny"), ""
    for position in range(len(body)):
        is_whole = position >= event_end
        assert stream.is_finished is is_whole, position
        if not is_whole and position % 97 == 0:
            with pytest.raises(StreamCut):
                stream.end(prompt_tokens=20, context_tokens=None)
        for event in parser.feed(body[position : position + 1]):
            text += "".join(taken.text for taken in stream.take(event) if isinstance(taken, TextDelta))
    assert text == text_of(name)
    assert stream.end(prompt_tokens=20, context_tokens=None)[-1] == Finished(REASONS[name])
