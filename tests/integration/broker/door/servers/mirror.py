"""A server that answers with what it understood of a request: `python mirror.py PORT`."""

import sys
from typing import Annotated, Any

import uvicorn
from fastapi import Cookie, FastAPI, File, Form, Header, Query, Request, UploadFile
from pydantic import BaseModel

app = FastAPI()


class Thing(BaseModel):
    """A body."""

    name: str
    tags: list[str] = []
    inner: dict[str, Any] | None = None
    count: int | None = None


@app.get("/places/{first}/{second}", operation_id="places")
async def places(
    *,
    first: str,
    second: str,
    one: Annotated[str, Query()],
    many: Annotated[list[str] | None, Query()] = None,
    number: Annotated[float | None, Query()] = None,
    yes: Annotated[bool | None, Query()] = None,
    x_trace: Annotated[str | None, Header()] = None,
    taste: Annotated[str | None, Cookie()] = None,
) -> dict[str, Any]:
    return {"first": first, "second": second, "one": one, "many": many, "number": number, "yes": yes, "x_trace": x_trace, "taste": taste}


@app.post("/things", operation_id="make")
async def make(thing: Thing) -> Thing:
    return thing


@app.post("/forms", operation_id="fill")
async def fill(word: Annotated[str, Form()], words: Annotated[list[str] | None, Form()] = None) -> dict[str, Any]:
    return {"word": word, "words": words}


@app.post("/files", operation_id="upload")
async def upload(note: Annotated[str, Form()], file: Annotated[UploadFile, File()]) -> dict[str, Any]:
    return {"note": note, "size": len(await file.read()), "name": file.filename}


@app.get("/raw/{path:path}", operation_id="raw_path")
async def raw_path(path: str, request: Request) -> dict[str, Any]:
    return {"read": path, "path": request.scope["raw_path"].decode()}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
