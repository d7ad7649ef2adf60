"""The floor: one `insert_one` and one `XADD` per request, no checks. Started by the plain `uvicorn` command line."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import redis.asyncio as redis
from bson import ObjectId
from fastapi import FastAPI, Header, Request
from pydantic import BaseModel
from pymongo import AsyncMongoClient

DATABASE = "floor"
COLLECTION = "messages"
PAGE_INDEX = [("conversation_id", 1), ("_id", -1)]
QUEUE = "floor:replies"


class MessageIn(BaseModel):
    conversation_id: str
    content: str
    reply: dict[str, str] | None = None


class MessageOut(BaseModel):
    id: str
    conversation_id: str
    user_id: str
    role: str
    content: str
    created_at: datetime


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    mongodb: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(os.environ["FLOOR_MONGODB_URL"], tz_aware=True)
    app.state.messages = mongodb[os.environ.get("FLOOR_DATABASE", DATABASE)][COLLECTION]
    await app.state.messages.create_index(PAGE_INDEX)
    # redis-py refuses a hundred and first connection by default; 128 clients would meet that as a 500.
    app.state.queue = redis.from_url(os.environ["FLOOR_REDIS_URL"], max_connections=256)
    yield
    await app.state.queue.aclose()
    await mongodb.close()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/messages", status_code=201)
async def create_message(message: MessageIn, x_user_id: Annotated[str, Header()], request: Request) -> MessageOut:
    document: dict[str, Any] = {
        "conversation_id": message.conversation_id,
        "user_id": x_user_id,
        "role": "user",
        "content": message.content,
        "created_at": datetime.now(UTC),
    }
    await request.app.state.messages.insert_one(document)
    await request.app.state.queue.xadd(QUEUE, {"message_id": str(document["_id"])})
    return MessageOut(id=str(document.pop("_id")), **document)


@app.get("/v1/messages")
async def list_messages(
    request: Request, conversation_id: str, limit: int = 50, before: str | None = None
) -> list[MessageOut]:
    wanted: dict[str, Any] = {"conversation_id": conversation_id}
    if before is not None:
        wanted["_id"] = {"$lt": ObjectId(before)}
    documents = await request.app.state.messages.find(wanted).sort("_id", -1).limit(limit).to_list()
    return [MessageOut(id=str(document.pop("_id")), **document) for document in documents]
