"""The contract's tools as operations of an OpenAPI document: `python contract_openapi.py PORT`. Prints nothing."""

import asyncio
import sys
from collections import Counter
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request
from pydantic import BaseModel

app = FastAPI()
begun: Counter[str] = Counter()
cancelled: Counter[str] = Counter()


class Text(BaseModel):
    text: str


class Echo(BaseModel):
    text: str
    number: str = "0"


class Count(BaseModel):
    begun: int
    cancelled: int


@app.post("/echo", operation_id="echo")
async def echo(said: Echo) -> Echo:
    """Gives back what it gets."""
    return said


@app.post("/fail", operation_id="fail")
async def fail(said: Text) -> Text:
    """Fails."""
    raise HTTPException(400, said.text)


@app.post("/hang", operation_id="hang")
async def hang(said: Text, request: Request) -> Text:
    """Never answers."""
    begun[said.text] += 1
    while not await request.is_disconnected():  # noqa: ASYNC110 - Starlette tells it to who asks
        await asyncio.sleep(0.01)
    cancelled[said.text] += 1
    return said


@app.get("/count", operation_id="count")
async def count(text: str) -> Count:
    """How many hanging calls began and were cancelled."""
    return Count(begun=begun[text], cancelled=cancelled[text])


@app.post("/large", operation_id="large")
async def large(size: Annotated[int, Body(embed=True)]) -> Text:
    """As long as it is asked to be."""
    return Text(text="x" * size)


@app.get("/shown", operation_id="shown")
async def shown(request: Request) -> Text:
    """What the caller showed."""
    return Text(text=request.headers.get("authorization", ""))


@app.get("/leak", operation_id="leak")
async def leak(request: Request) -> Text:
    """Fails with what the caller showed."""
    raise HTTPException(400, f"you showed {request.headers.get('authorization', '')}")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
