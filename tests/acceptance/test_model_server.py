"""With a model server behind it: what the model is asked, and that its text is the reply."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from message_service.context.tokens import TokenCounter
from message_service.context.window import TOKENS_PER_TURN, TOKENS_TO_PRIME_A_REPLY
from tests.acceptance.expectations import expect_faults
from tests.fixtures.client import endings_of, names_of, text_of
from tests.fixtures.service import Service, StartService
from tests.fixtures.upstream import ModelServer, run_model_server

_CONTEXT_TOKENS = 700
_RESERVE_TOKENS = 100
USAGE = {
    "input_tokens": 11,
    "output_tokens": 5,
    "is_estimated": False,
    "cached_input_tokens": 8,
    "cache_write_tokens": 0,
    "reasoning_tokens": 0,
}


@pytest_asyncio.fixture(scope="module")
async def model() -> AsyncIterator[ModelServer]:
    async with run_model_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module")
async def answering(start_service: StartService, model: ModelServer) -> AsyncIterator[Service]:
    async with start_service(
        LM_STUDIO_URL=model.url, CONTEXT_TOKENS=str(_CONTEXT_TOKENS), OUTPUT_RESERVE_TOKENS=str(_RESERVE_TOKENS)
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(model: ModelServer) -> None:
    model.bodies.clear()
    model.stream_closed.clear()
    model.text = "I am a real model, or nearly."
    model.words_per_second = 500


async def test_reply_is_the_models_text_when_a_server_is_configured(answering: Service, model: ModelServer) -> None:
    model.text = "Grüße \N{GRINNING FACE} from\n\nthe model."
    caller = answering.client()
    asked = await caller.ask(
        "Hello!", reply={"instructions": "You are Ada.", "temperature": 0.5, "max_output_tokens": 50, "stop": ["END"]}
    )
    events = await caller.watch_whole(asked["id"])
    ended = await caller.reply(asked["id"])
    assert ended["status"] == "completed"
    assert (ended["provider"], ended["model"]) == ("lm_studio", "a-model")
    assert ended["message"]["content"] == text_of(events) == model.text
    assert ended["usage"] == ended["message"]["usage"] == USAGE
    assert [event.content for event in events if event.name == "usage"] == [USAGE]
    assert names_of(events)[-2:] == ["usage", "reply.completed"]
    assert model.bodies == [
        {
            "model": "a-model",
            "messages": [{"role": "system", "content": "You are Ada."}, {"role": "user", "content": "Hello!"}],
            "max_tokens": 50,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.5,
            "stop": ["END"],
        }
    ]


async def test_history_comes_in_order_behind_the_instructions_when_there_is_some(
    answering: Service, model: ModelServer
) -> None:
    caller = answering.client()
    for number in range(3):
        model.text = f"answer {number}"
        await caller.ended((await caller.ask(f"question {number}"))["id"])
    hidden = await caller.store("hidden")
    await caller.delete(f"/v1/messages/{hidden['id']}")
    await caller.store("stored only")
    last = await caller.ask("question 3", reply={"instructions": "You are Ada."})
    await caller.ended(last["id"])
    turns = [("system", "You are Ada.")]
    for number in range(3):
        turns += [("user", f"question {number}"), ("assistant", f"answer {number}")]
    # Neighbours of one role are sent as one message: many chat templates refuse two in a row.
    turns.append(("user", "stored only\n\nquestion 3"))
    assert [(turn["role"], turn["content"]) for turn in model.bodies[-1]["messages"]] == turns


async def test_prompt_follows_the_branch_when_the_conversation_has_several(
    answering: Service, model: ModelServer
) -> None:
    caller = answering.client()
    model.text = "the first answer"
    first = await caller.ask("question")
    await caller.ended(first["id"])
    model.text = "the second answer"
    variant = await caller.post(f"/v1/messages/{first['message_id']}/replies", {})
    await caller.ended(variant.json["reply"]["id"])
    assert [turn["content"] for turn in model.bodies[-1]["messages"]] == ["question"]
    on_the_first = await caller.ask("go on", parent_id=first["id"])
    await caller.ended(on_the_first["id"])
    contents = [turn["content"] for turn in model.bodies[-1]["messages"]]
    assert contents == ["question", "the first answer", "go on"]


async def test_prompt_keeps_to_its_budget_when_the_history_is_long(answering: Service, model: ModelServer) -> None:
    caller = answering.client(X_User_Roles="service")
    counter = TokenCounter()
    stored = []
    for number in range(40):
        stored.append(
            await caller.store(
                f"Line {number} tells of harbours, lamps and rain.", role="assistant" if number % 2 else "user"
            )
        )
    instructions = "You are Ada, and you never forget what you are told. " * 5
    asked = await caller.ask("What do you remember?", reply={"instructions": instructions})
    await caller.ended(asked["id"])
    body = model.bodies[-1]
    turns = body["messages"]
    assert turns[0] == {"role": "system", "content": instructions}
    assert turns[-1] == {"role": "user", "content": "What do you remember?"}
    history = [turn["content"] for turn in turns[1:-1]]
    kept = len(history)
    assert 5 < kept < 40
    assert history == [message["content"] for message in stored[-kept:]]
    assert turns[1]["role"] == "user"

    def tokens(texts: list[str]) -> int:
        return TOKENS_TO_PRIME_A_REPLY + sum(counter.count(text) + TOKENS_PER_TURN for text in texts)

    budget = _CONTEXT_TOKENS - _RESERVE_TOKENS
    assert body["max_tokens"] == _RESERVE_TOKENS
    sent = [turn["content"] for turn in turns]
    assert tokens(sent) <= budget
    # Nothing that would have fitted was left out, but for an answer whose question was cut off.
    older = [message["content"] for message in stored[-kept - 2 : -kept]]
    assert tokens([*sent, *older]) > budget


async def test_message_is_cut_in_its_middle_when_it_is_longer_than_the_budget(
    answering: Service, model: ModelServer
) -> None:
    caller = answering.client()
    asked = await caller.ask("first words " + "and so on " * 4000 + "last words", reply={"instructions": "Be brief."})
    assert (await caller.ended(asked["id"]))["status"] == "completed"
    system, user = model.bodies[-1]["messages"]
    assert system["content"] == "Be brief."
    assert user["content"].startswith("first words ")
    assert user["content"].endswith(" last words")
    assert TokenCounter().count(user["content"]) <= _CONTEXT_TOKENS - _RESERVE_TOKENS


async def test_connection_to_the_model_is_closed_when_the_reply_is_cancelled(
    answering: Service, model: ModelServer
) -> None:
    model.text = "again and " * 5000
    model.words_per_second = 30
    caller = answering.client()
    asked = await caller.ask("Tell me a long story.")
    async with caller.watch(asked["id"]) as watch:
        events = await watch.until("reply.delta")
        async with asyncio.timeout(1.0):
            assert (await caller.post(f"/v1/replies/{asked['id']}/cancel")).status == 202
            await model.stream_closed.wait()
        events += await watch.rest()
    assert model.open_streams == 0
    assert endings_of(events) == ["reply.cancelled"]
    ended = await caller.reply(asked["id"])
    assert ended["message"]["content"] == text_of(events)
    assert ended["message"]["finish_reason"] == "cancelled"


async def test_connection_to_the_model_stays_when_all_watchers_leave(answering: Service, model: ModelServer) -> None:
    model.text = "again and " * 15
    model.words_per_second = 30
    caller = answering.client()
    asked = await caller.ask("Tell me a story.")
    async with caller.watch(asked["id"]) as watch:
        await watch.until("reply.delta")
    assert (await caller.ended(asked["id"]))["message"]["content"] == model.text.rstrip()
    assert not model.stream_closed.is_set()


async def test_provider_is_refused_when_it_is_not_enabled_here(answering: Service) -> None:
    asked = {"conversation_id": "conv-1", "content": "x", "reply": {"provider": "scripted"}}
    expect_faults(await answering.client().post("/v1/messages", asked), "/reply/provider")


async def test_reply_is_the_models_text_when_the_host_is_an_openai_compatible_one(
    start_service: StartService, model: ModelServer
) -> None:
    async with start_service(
        OPENAI_BASE_URL=f"{model.url}/v1", OPENAI_MODEL="a-model", OPENAI_API_KEY="a-key"
    ) as running:
        caller = running.client()
        asked = await caller.ask("Hello!", reply={})
        ended = await caller.ended(asked["id"])
    assert (ended["status"], ended["provider"], ended["model"]) == ("completed", "openai", "a-model")
    assert ended["message"]["content"] == model.text
