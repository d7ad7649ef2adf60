"""One client: what it asks and what it is told goes to the history. It has one operation in flight."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.chaos.history import Action, HistoryWriter, Operation, Outcome, SeenMessage, digest

CANARY = re.compile(rb"canary[0-9a-f]{32}")
OPERATION_SECONDS = 10.0
NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` None: there was no answer, or not a whole one."""

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] | None = None

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def is_ok(self) -> bool:
        return self.status is not None and self.status < 400

    @property
    def code(self) -> str | None:
        """The problem's code, where it is a refusal that has one."""
        if self.status is None or self.status < 400 or not self.body.startswith(b"{"):
            return None
        code: str | None = self.json.get("code")
        return code

    @property
    def canaries(self) -> tuple[str, ...]:
        """All secrets in it, headers included."""
        shown = self.body + repr(self.headers).encode()
        return tuple(sorted({found.decode() for found in CANARY.findall(shown)}))


@dataclass(slots=True)
class Caller:
    """`name` is its process in Jepsen's sense: used no more after an outcome stayed unknown."""

    session: aiohttp.ClientSession
    history: HistoryWriter
    name: str
    is_retired: bool = False

    def begin(self, action: Action, user: str, **known: Any) -> Operation:
        return self.history.begin(action, user, process=self.name, **known)

    def end(self, operation: Operation, answer: Answer, **learnt: Any) -> Operation:
        learnt.setdefault("canaries", answer.canaries)
        over = self.history.end(operation, status=answer.status, code=answer.code, **learnt)
        self.is_retired = self.is_retired or over.outcome is Outcome.UNKNOWN
        return over

    async def ask(
        self,
        method: str,
        url: str,
        user: str,
        *,
        body: bytes | None = None,
        key: str | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer, or none within the time there is."""
        headers = {"X-User-Id": user}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            async with self.session.request(
                method,
                url,
                data=body,
                params=params,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=OPERATION_SECONDS),
            ) as response:
                return Answer(response.status, await response.read(), response.headers)
        except NO_ANSWER:
            return Answer(None)

    async def walk(self, url: str, user: str, params: Mapping[str, str]) -> tuple[Answer, list[dict[str, Any]]]:
        """All pages of a conversation, and the last answer; the whole walk has the time of one operation."""
        found: list[dict[str, Any]] = []
        forward = "after" if params.get("order") == "asc" else "before"
        cursor: dict[str, str] = {}
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                while True:
                    answer = await self.ask("GET", f"{url}/v1/messages", user, params={**params, **cursor})
                    if not answer.is_ok:
                        return answer, found
                    page = answer.json
                    found += page["data"]
                    if not page["has_more"]:
                        return answer, found
                    cursor = {forward: page["next_cursor"]}
        except TimeoutError:
            return Answer(None), found


def seen_message(message: Mapping[str, Any]) -> SeenMessage:
    return SeenMessage(
        id=message["id"],
        seq=message["seq"],
        role=message["role"],
        text=digest(message["content"]),
        reply_to=message.get("reply_to"),
        parent_id=message.get("parent_id"),
        is_deleted="deleted_at" in message,
    )
