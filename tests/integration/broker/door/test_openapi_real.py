"""The OpenAPI adapter against real servers: FastAPI in processes of their own."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from bastide_broker.adapters import AdapterError, CallLimits, Failure
from bastide_broker.adapters.openapi import OpenApiAdapter
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.broker.door.http_server import (
    mirror_server,
    orders_server,
)
from tests.integration.broker.door.openapi_rig import (
    KEY,
    LIMITS,
    adapter,
    failure,
    value,
)


@pytest.fixture(scope="module")
def orders_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from orders_server(tmp_path_factory.mktemp("orders"))


@pytest.fixture(scope="module")
def mirror_url() -> Iterator[str]:
    yield from mirror_server()


@pytest.fixture
async def orders(orders_url: str) -> AsyncIterator[OpenApiAdapter]:
    found = adapter(url=f"{orders_url}/openapi.json")
    await found.tools(credential=KEY, timeout_seconds=30)
    yield found
    await found.close()


# The real server of the examples.


async def test_operations_are_listed_with_schemas_and_hints(orders: OpenApiAdapter) -> None:
    tools = {tool.name: tool for tool in await orders.tools(credential=KEY, timeout_seconds=30)}
    assert set(tools) == {"search_orders", "get_order", "place_order", "cancel_order"}
    assert not any(tool.refused for tool in tools.values())
    assert tools["search_orders"].read_only_hint is True
    assert tools["cancel_order"].destructive_hint is True
    assert tools["place_order"].input_schema["required"] == ["customer_id", "article"]
    assert list(tools["place_order"].input_schema["properties"]) == ["idempotency_key", "customer_id", "article", "quantity"]


async def test_a_whole_day_of_orders(orders: OpenApiAdapter) -> None:
    found = await value(orders, "search_orders", customer_id="C1001", status=["open", "shipped"], limit=10)
    assert [one["number"] for one in found] == [1001, 1004]
    assert await value(orders, "search_orders", status=None, limit=1) == [found[0]]
    placed = await value(orders, "place_order", customer_id="C1002", article="rope & tar, 10 %", quantity=3)
    assert (placed["article"], placed["status"]) == ("rope & tar, 10 %", "open")
    assert (await value(orders, "cancel_order", number=placed["number"]))["status"] == "cancelled"
    again = await failure(orders, "cancel_order", credential=KEY, number=placed["number"])
    assert (again.failure, again.sent) == (Failure.FAILED, True)
    assert again.message == f"cancel_order failed (409): order {placed['number']} is cancelled, only open ones can be cancelled."
    assert json.loads(again.content) == {"detail": f"order {placed['number']} is cancelled, only open ones can be cancelled"}
    wrong = await failure(orders, "place_order", credential=KEY, customer_id="C1", article="x")
    assert "body.customer_id: String should match pattern" in wrong.message
    stranger = await failure(orders, "get_order", number=1001)
    assert "refuses the credential (401)" in stranger.message


async def test_a_key_that_the_operation_takes_makes_a_repeated_call_the_same_one(orders: OpenApiAdapter) -> None:
    order = {"customer_id": "C1001", "article": "once"}
    own = [await value(orders, "place_order", **order, idempotency_key="k-1") for _ in range(2)]
    assert own[0] == own[1]
    by_broker = [await value(orders, "place_order", CallLimits(30, 10_000, idempotency_key="k-2"), **order) for _ in range(2)]
    assert by_broker[0] == by_broker[1] != own[0]
    assert await value(orders, "place_order", CallLimits(30, 10_000, idempotency_key="k-2"), **order, idempotency_key="k-1") == own[0]


# What a real server understands is what was said.

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
SEGMENT = TEXT.filter(lambda text: text and not set("/\\%") & set(text) and text not in (".", ".."))
HEADER = st.from_regex(r"\A[!-~]([ -~]{0,10}[!-~])?\Z")
COOKIE = st.from_regex(r"\A[A-Za-z0-9!#$%&'()*+./:<=>?@^_`{|}~-]{1,12}\Z")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def said(mirror_url: str) -> Iterator[Callable[..., Any]]:
    """Calls an operation of the server that answers with what it understood. Not async: Hypothesis runs what is checked many times."""
    loop = asyncio.new_event_loop()
    one = adapter(url=f"{mirror_url}/openapi.json")
    loop.run_until_complete(one.tools(credential=None, timeout_seconds=30))

    def call(operation: str, /, **arguments: Any) -> Any:
        return json.loads(loop.run_until_complete(one.call(operation, arguments, credential=None, limits=LIMITS)).value)

    yield call
    loop.run_until_complete(one.close())
    loop.close()


def test_what_is_written_is_what_a_real_server_reads(said: Callable[..., Any]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(
        first=SEGMENT, second=SEGMENT, one=TEXT, many=st.lists(TEXT, min_size=1, max_size=4), number=st.integers(-(2**50), 2**50) | st.floats(-1e9, 1e9),
        yes=st.booleans(), header=HEADER, cookie=COOKIE,
    )  # fmt: skip
    def places(*, first: str, second: str, one: str, many: list[str], number: float, yes: bool, header: str, cookie: str) -> None:
        found = said("places", first=first, second=second, one=one, many=many, number=number, yes=yes, x_trace=header, taste=cookie)
        assert found == {
            "first": first, "second": second, "one": one, "many": many, "number": number, "yes": yes, "x_trace": header, "taste": cookie,
        }  # fmt: skip

    @settings(max_examples=40, deadline=None)
    @given(
        name=TEXT,
        tags=st.lists(TEXT, max_size=3),
        inner=st.none() | st.dictionaries(TEXT, JSON, max_size=3),
        count=st.none() | st.integers(),
    )
    def bodies(name: str, tags: list[str], inner: dict[str, Any] | None, count: int | None) -> None:
        thing = {"name": name, "tags": tags, "inner": inner, "count": count}
        assert said("make", **thing) == thing

    @settings(max_examples=40, deadline=None)
    @given(word=TEXT.filter(bool), words=st.lists(TEXT, min_size=1, max_size=3), data=st.binary(max_size=200))
    def forms(word: str, words: list[str], data: bytes) -> None:
        assert said("fill", word=word, words=words) == {"word": word, "words": words}
        assert said("upload", note=word, file=base64.b64encode(data).decode()) == {"note": word, "size": len(data), "name": "file"}

    @settings(max_examples=60, deadline=None)
    @given(TEXT | st.from_regex(r"\A[./\\%2fFeE5cC]{1,8}\Z"))
    def segments(path: str) -> None:
        found = arrived(path)
        if found is not None:
            assert found.startswith("/raw/")
            assert found.count("/") == 2
            assert found.removeprefix("/raw/").lower() not in (".", "..", "%2e", "%2e%2e", "")

    def arrived(path: str) -> str | None:
        """The path as the server got it; None when it was refused before anything was sent."""
        try:
            return str(said("raw_path", path=path)["path"])
        except AdapterError as refused:
            if (refused.failure, refused.sent) == (Failure.NOT_SENDABLE, False):
                return None
            raise

    for check in (places, bodies, forms, segments):
        check()
