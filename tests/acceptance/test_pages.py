"""Pages of a conversation: order, bounds, filters and cursors; each message once, whichever way one walks."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import pytest
import pytest_asyncio

from message_service.ids import new_message_id
from tests.acceptance.expectations import expect_faults, expect_problem
from tests.fixtures.client import Answer, Client
from tests.fixtures.service import Service

_LONG = 250


def _seqs(page: dict[str, Any]) -> list[int]:
    return [message["seq"] for message in page["data"]]


async def _refused(caller: Client, **params: str) -> Answer:
    return await caller.get("/v1/messages", params={"conversation_id": "conv-1", **params})


@pytest_asyncio.fixture(scope="module")
async def reader(service: Service) -> Client:
    """Has 250 messages in `conv-1`, every third is a system message."""
    client = service.client(X_User_Roles="service")
    await client.store("number 1", metadata={"third": "no"})
    with service.mongodb() as database:
        # Copies of a message that the service stored: 250 posts would exceed the allowance of a minute.
        first = database["messages"].find_one({"user_id": client.user_id})
        assert first is not None
        copies = []
        for number in range(2, _LONG + 1):
            is_third = number % 3 == 0
            copies.append(
                first
                | {
                    "_id": new_message_id(),
                    "seq": number,
                    "content": f"number {number}",
                    "role": "system" if is_third else "user",
                    "character_id": f"char-{number % 2}",
                    "metadata": {"third": "yes" if is_third else "no", "number": str(number)},
                }
            )
        database["messages"].insert_many(copies)
        database["conversations"].update_one(
            {"_id": first["conversation_key"]}, {"$set": {"last_seq": _LONG, "head": copies[-1]["_id"]}}
        )
    return client


async def test_newest_50_come_first_when_nothing_else_is_asked(reader: Client) -> None:
    page = await reader.page()
    assert set(page) == {"object", "data", "has_more", "next_cursor", "active_replies"}
    assert (page["object"], page["has_more"], page["active_replies"]) == ("list", True, [])
    assert _seqs(page) == list(range(_LONG, _LONG - 50, -1))
    assert (await reader.get(f"/v1/messages/{page['data'][7]['id']}")).json == page["data"][7]


async def test_page_is_empty_when_there_is_no_such_conversation(reader: Client) -> None:
    assert await reader.page("conv-none") == {"object": "list", "data": [], "has_more": False, "active_replies": []}


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_each_message_comes_once_when_walking_both_ways(reader: Client, order: str, limit: int) -> None:
    wanted = list(range(1, _LONG + 1)) if order == "asc" else list(range(_LONG, 0, -1))
    forward, backward = ("after", "before") if order == "asc" else ("before", "after")
    params = {"order": order, "limit": str(limit)}
    pages = [await reader.page(**params)]
    assert "prev_cursor" not in pages[0]
    while pages[-1]["has_more"]:
        pages.append(await reader.page(**params, **{forward: pages[-1]["next_cursor"]}))
    assert "next_cursor" not in pages[-1]
    assert [seq for page in pages for seq in _seqs(page)] == wanted
    back = [pages[-1]]
    while "prev_cursor" in back[0]:
        page = await reader.page(**params, **{backward: back[0]["prev_cursor"]})
        if not page["data"]:
            break
        back.insert(0, page)
    assert [seq for page in back for seq in _seqs(page)] == wanted


async def test_bounds_leave_their_message_out_when_before_or_after_it(reader: Client) -> None:
    newest_first = await reader.page(limit="100", order="desc")
    hundredth = next(m for m in (await reader.page(limit="100", order="asc"))["data"] if m["seq"] == 100)
    for order, sign in (("asc", 1), ("desc", -1)):
        before = await reader.page(before=hundredth["id"], limit="3", order=order)
        assert _seqs(before) == [97, 98, 99][::sign]
        after = await reader.page(after=hundredth["id"], limit="3", order=order)
        assert _seqs(after) == [101, 102, 103][::sign]
        around = await reader.page(around=hundredth["id"], limit="5", order=order)
        assert _seqs(around) == [98, 99, 100, 101, 102][::sign]
        alone = await reader.page(around=hundredth["id"], limit="1", order=order)
        assert _seqs(alone) == [100]
    last = newest_first["data"][0]
    assert _seqs(await reader.page(after=last["id"])) == []
    assert _seqs(await reader.page(around=last["id"], limit="4", order="asc"))[-1] == _LONG


async def test_cursors_bound_as_ids_do_when_used_with_any_bound(reader: Client) -> None:
    page = await reader.page(limit="10", order="asc")
    cursor, edge = page["next_cursor"], page["data"][-1]
    for bound in ("before", "after", "around"):
        by_cursor = await reader.page(limit="6", order="asc", **{bound: cursor})
        assert by_cursor == await reader.page(limit="6", order="asc", **{bound: edge["id"]})
    middle = await reader.page(around=edge["id"], limit="4", order="desc")
    assert _seqs(middle) == [12, 11, 10, 9]
    assert _seqs(await reader.page(before=middle["next_cursor"], limit="1")) == [8]
    assert _seqs(await reader.page(after=middle["prev_cursor"], limit="1")) == [13]


@pytest.mark.parametrize(("limit", "count"), [("1", 1), ("100", 100)])
async def test_limit_is_obeyed_when_within_its_bounds(reader: Client, limit: str, count: int) -> None:
    assert len((await reader.page(limit=limit))["data"]) == count


async def test_filters_narrow_the_page_when_given(reader: Client) -> None:
    thirds = [seq for seq in range(1, _LONG + 1) if seq % 3 == 0]
    assert _seqs(await reader.page(role="system", order="asc", limit="100")) == thirds
    assert _seqs(await reader.page(character_id="char-1", order="asc", limit="3")) == [3, 5, 7]
    assert _seqs(await reader.page(role="system", character_id="char-1", order="asc", limit="3")) == [3, 9, 15]
    assert _seqs(await reader.page(**{"metadata.third": "yes", "order": "asc", "limit": "2"})) == [3, 6]
    both = {"metadata.third": "no", "metadata.number": "7"}
    assert _seqs(await reader.page(**both)) == [7]
    assert _seqs(await reader.page(**{"metadata.third": "maybe"})) == []
    assert _seqs(await reader.page(**{"metadata.unknown": "no"})) == []
    assert _seqs(await reader.page(role="assistant")) == []


async def test_cursors_keep_to_their_filter_when_walking_a_filtered_listing(reader: Client) -> None:
    seen: list[int] = []
    params = {"role": "system", "order": "asc", "limit": "30"}
    page = await reader.page(**params)
    seen += _seqs(page)
    while page["has_more"]:
        page = await reader.page(**params, after=page["next_cursor"])
        seen += _seqs(page)
    assert seen == [seq for seq in range(1, _LONG + 1) if seq % 3 == 0]


async def test_since_is_inclusive_and_until_exclusive_when_times_are_given(service: Service) -> None:
    caller = service.client()
    messages = []
    for text in ("one", "two", "three"):
        messages.append(await caller.store(text))
        # Times are cut to milliseconds, and these three must differ.
        while (await caller.store("tick", "conv-clock"))["created_at"] <= messages[-1]["created_at"]:
            pass
    second = messages[1]["created_at"]
    assert _seqs(await caller.page(since=second, order="asc")) == [2, 3]
    assert _seqs(await caller.page(until=second, order="asc")) == [1]
    assert _seqs(await caller.page(since=second, until=messages[2]["created_at"])) == [2]
    elsewhere = second.replace("Z", "+00:00")
    assert _seqs(await caller.page(since=elsewhere, until=messages[2]["created_at"])) == [2]


async def test_any_metadata_can_be_asked_for_when_its_key_looks_like_an_operator(service: Service) -> None:
    caller = service.client()
    keys = ["$where", "a.b", "$$ROOT", "metadata.k", "\u00e9\U0001f600", "a b&c=d"]
    await caller.store("odd", metadata={key: "$literal" for key in keys})
    await caller.store("plain", metadata={"plain": "yes"})
    for key in keys:
        assert _seqs(await caller.page(**{f"metadata.{key}": "$literal"})) == [1], key
        assert _seqs(await caller.page(**{f"metadata.{key}": "literal"})) == [], key


async def test_filter_finds_nothing_when_its_key_can_be_nobodys(service: Service) -> None:
    caller = service.client()
    await caller.store("x", metadata={"k": "v"})
    for key in ("", "k\x00", "\x00", "x" * 500):
        answer = await _refused(caller, **{f"metadata.{key}": "v"})
        assert answer.status in (200, 422), (key, answer.status, answer.body)
        if answer.status == 200:
            assert answer.json["data"] == []
    answer = await _refused(caller, **{"metadata.k": "v\x00"})
    assert (answer.status, answer.json["data"]) == (200, [])


@pytest.mark.parametrize(
    ("params", "pointers"),
    [
        ({"limit": "0"}, ["/limit"]),
        ({"limit": "101"}, ["/limit"]),
        ({"limit": "-1"}, ["/limit"]),
        ({"limit": "many"}, ["/limit"]),
        ({"limit": ""}, ["/limit"]),
        ({"order": "random"}, ["/order"]),
        ({"role": "tool"}, ["/role"]),
        ({"character_id": "with space"}, ["/character_id"]),
        ({"since": "yesterday"}, ["/since"]),
        ({"since": "2026-01-01T00:00:00"}, ["/since"]),
        ({"until": "2026-13-01T00:00:00Z"}, ["/until"]),
        ({"include": "everything"}, ["/include"]),
        ({"offset": "10"}, ["/offset"]),
        ({"metadata": "k"}, ["/metadata"]),
        ({"before": "x" * 65}, ["/before"]),
        ({"limit": "0", "order": "x"}, ["/limit", "/order"]),
    ],
)
async def test_each_parameter_is_named_when_it_is_not_acceptable(
    reader: Client, params: dict[str, str], pointers: list[str]
) -> None:
    expect_faults(await _refused(reader, **params), *pointers)


async def test_conversation_is_required_when_listing(reader: Client) -> None:
    expect_faults(await reader.get("/v1/messages"), "/conversation_id")
    expect_faults(await reader.get("/v1/messages", params={"conversation_id": ""}), "/conversation_id")


@pytest.mark.parametrize("name", ["limit", "conversation_id", "metadata.k", "before"])
async def test_parameter_is_refused_when_it_is_repeated(reader: Client, name: str) -> None:
    twice = [("conversation_id", "conv-1"), (name, "1"), (name, "1")]
    expect_faults(await reader.get("/v1/messages", params=twice), f"/{name}")


async def test_one_bound_is_taken_when_several_are_given(reader: Client) -> None:
    page = await reader.page(limit="2")
    bounds = {"before": page["next_cursor"], "after": page["data"][0]["id"], "around": page["data"][1]["id"]}
    for left_out in bounds:
        given = {name: bound for name, bound in bounds.items() if name != left_out}
        expect_faults(await _refused(reader, **given), "")


@pytest.mark.parametrize(
    "bound", ["x", "cur_", "cur_AAAA", "cur_!!!!", "cur_\u00e9", "msg_short", "42", "cur_" + "A" * 14, "0-1", " "]
)
async def test_bound_is_refused_when_it_is_no_cursor_of_ours(reader: Client, bound: str) -> None:
    for name in ("before", "after", "around"):
        expect_problem(await _refused(reader, **{name: bound}), 400, "invalid_cursor", instance="/v1/messages")


async def test_cursor_is_refused_when_any_bit_of_it_was_changed(reader: Client) -> None:
    cursor = (await reader.page(limit="10"))["next_cursor"]
    raw = urlsafe_b64decode(cursor.removeprefix("cur_") + "==")
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        altered = "cur_" + urlsafe_b64encode(changed).decode().rstrip("=")
        expect_problem(await _refused(reader, before=altered), 400, "invalid_cursor")
    for altered in (cursor[:-1], cursor + "A", cursor + "=", cursor.upper(), " " + cursor):
        expect_problem(await _refused(reader, before=altered), 400, "invalid_cursor")


async def test_cursor_is_refused_when_it_belongs_to_another_listing(service: Service, reader: Client) -> None:
    cursor = (await reader.page(limit="10"))["next_cursor"]
    for params in (
        {"conversation_id": "conv-2"},
        {"role": "user"},
        {"character_id": "char-1"},
        {"include": "deleted"},
        {"metadata.third": "yes"},
        {"since": "2020-01-01T00:00:00Z"},
    ):
        expect_problem(await _refused(reader, **{"before": cursor, **params}), 400, "invalid_cursor")
    expect_problem(await _refused(service.client(), before=cursor), 400, "invalid_cursor")
    # What only changes how much is shown, and which way, is the same listing.
    assert (await _refused(reader, before=cursor, limit="3", order="asc")).status == 200


async def test_bound_is_not_found_when_it_is_in_no_conversation_of_that_name(service: Service, reader: Client) -> None:
    elsewhere = await reader.store("elsewhere", "conv-2")
    foreign = await service.client().store("foreign")
    for bound in (elsewhere["id"], foreign["id"], new_message_id()):
        expect_problem(await _refused(reader, after=bound), 404, "message_not_found", instance="/v1/messages")


async def test_deleted_messages_show_only_when_they_are_asked_for(service: Service) -> None:
    caller = service.client()
    one, two, three = [await caller.store(text) for text in ("one", "two", "three")]
    assert (await caller.delete(f"/v1/messages/{two['id']}")).status == 204
    assert _seqs(await caller.page()) == [3, 1]
    shown = await caller.page(include="deleted", order="asc")
    assert [message.pop("deleted_at", None) is not None for message in shown["data"]] == [False, True, False]
    assert shown["data"] == [one, two, three]
    # It still marks its place.
    assert _seqs(await caller.page(before=two["id"])) == [1]
    assert _seqs(await caller.page(around=two["id"], order="asc", limit="2")) == [1, 3]


async def test_unfinished_replies_come_with_the_page_when_there_are_any(service: Service) -> None:
    caller = service.client()
    first = await caller.ask("/script first=600 say=never")
    second = await caller.ask("/script say=second")
    await caller.reply_when(first["id"], "running")
    active = (await caller.page())["active_replies"]
    assert [(reply["id"], reply["status"]) for reply in active] == [(first["id"], "running"), (second["id"], "queued")]
    assert all(reply["object"] == "reply" and reply["stream_url"] for reply in active)
    assert (await caller.page("conv-2"))["active_replies"] == []
    assert (await service.client().page())["active_replies"] == []
    for reply in (second, first):
        await caller.post(f"/v1/replies/{reply['id']}/cancel")
        await caller.ended(reply["id"])
    assert (await caller.page())["active_replies"] == []
