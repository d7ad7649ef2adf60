"""What one writes with the OpenAI SDK: a FastAPI route that passes a completion on, chunk by chunk."""

import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

app = FastAPI()
upstream = AsyncOpenAI(base_url=os.environ["BENCH_UPSTREAM_URL"], api_key="none")


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/chat/completions")
async def complete(request: Request) -> StreamingResponse:
    body: dict[str, Any] = await request.json()
    stream = await upstream.chat.completions.create(model=body["model"], messages=body["messages"], stream=True)

    async def events() -> AsyncIterator[str]:
        async for chunk in stream:
            yield f"data: {chunk.model_dump_json(exclude_none=True)}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
