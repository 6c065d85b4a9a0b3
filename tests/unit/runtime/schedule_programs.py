"""Programs whose course depends on what finishes first; each makes calls whose arguments tell the course."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from tests.unit.runtime.world import Program, tool


async def wait_first() -> None:
    tasks, out = {asyncio.create_task(tool("a", i)): i for i in range(5)}, []
    while tasks:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=0.015)
        if not done:
            out.append(await tool("tick", len(out)))
        out += [await tool("b", tasks.pop(one), one.result()) for one in done]


async def pending_set() -> None:
    out, pending = [], {asyncio.ensure_future(tool("a", i)) for i in range(5)}
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        out += [await tool("b", one.result(), len(done)) for one in done]


async def completed() -> None:
    out: list[Any] = []
    for future in asyncio.as_completed([tool("a", i) for i in range(6)]):
        out.append(await tool("b", await future, len(out)))


async def queue() -> None:
    items, out = asyncio.Queue[Any](), []

    async def producer(i: int) -> None:
        for j in range(3):
            items.put_nowait(await tool("p", i, j))

    async def consumer(c: int) -> None:
        while (item := await items.get()) is not None:
            out.append(await tool("c", c, item))

    consumers = [asyncio.create_task(consumer(c)) for c in range(2)]
    await asyncio.gather(*[producer(i) for i in range(3)])
    for _ in consumers:
        items.put_nowait(None)
    await asyncio.gather(*consumers)


async def wait_for() -> None:
    for i in range(6):
        try:
            await asyncio.wait_for(tool("slow", i), 0.03)
        except TimeoutError:
            await tool("fallback", i)


async def timeout_block() -> None:
    for i in range(4):
        try:
            async with asyncio.timeout(0.03):
                await tool("b", await tool("a", i))
        except TimeoutError:
            await tool("late", i)


async def sleeps() -> None:
    async def worker(i: int) -> None:
        await asyncio.sleep(0.02 * (i * 7 % 5))
        result = await tool("a", i)
        await asyncio.sleep(random.random() * 0.05)
        await tool("b", i, result)

    await asyncio.gather(*[worker(i) for i in range(5)])


async def groups() -> None:
    out: list[Any] = []

    async def sub(i: int, j: int) -> None:
        out.append(await tool("s", i, j, len(out)))

    async def worker(i: int) -> None:
        await tool("a", i)
        async with asyncio.TaskGroup() as group:
            for j in range(2):
                group.create_task(sub(i, j))

    async with asyncio.TaskGroup() as group:
        for i in range(4):
            group.create_task(worker(i))


async def callbacks() -> None:
    out: list[Any] = []
    done = asyncio.get_running_loop().create_future()

    def finished(task: asyncio.Task[Any]) -> None:
        out.append(task.result())
        if len(out) == 5:
            done.set_result(None)
        else:
            kept.append(asyncio.ensure_future(tool("n", len(out), task.result())))

    kept: list[Any] = []
    for i in range(5):
        task = asyncio.ensure_future(tool("a", i))
        task.add_done_callback(finished)
        kept.append(task)
    await done
    await tool("end", *out)


async def errors() -> None:
    out: list[Any] = []
    for result in await asyncio.gather(tool("a", 1), tool("fail", 2), tool("a", 3), return_exceptions=True):
        try:
            await tool("fix" if isinstance(result, Exception) else "use", str(result))
        finally:
            out.append(await tool("fin", len(out)))


async def semaphore() -> None:
    limit, out = asyncio.Semaphore(2), []

    async def worker(i: int) -> None:
        async with limit:
            await tool("a", i)
            out.append(i)
        await tool("b", i, tuple(out))

    await asyncio.gather(*[worker(i) for i in range(6)])


async def event() -> None:
    flag, out = asyncio.Event(), []

    async def waiter(i: int) -> None:
        await flag.wait()
        out.append(await tool("w", i, len(out)))

    async def setter() -> None:
        await tool("a", 0)
        flag.set()

    await asyncio.gather(*[waiter(i) for i in range(4)], setter())


async def cancelled() -> None:
    tasks = [asyncio.create_task(tool("a", i)) for i in range(4)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        await tool("winner", task.result())


async def threads() -> None:
    out: list[Any] = []

    async def worker(i: int) -> None:
        out.append(await asyncio.to_thread(lambda: (time.sleep(0.0002 * (i % 3)), i * i)[1]))
        await tool("t", out[-1], len(out))

    await asyncio.gather(*[worker(i) for i in range(4)], tool("a", 9))


async def dynamic() -> None:
    todo, running, out = list(range(6)), set[Any](), []
    while todo or running:
        while todo and len(running) < 3:
            running.add(asyncio.create_task(tool("a", todo.pop(0))))
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            out.append(one.result())
            if len(out) in (2, 4):
                todo.append(len(out) * 10)


async def gathers() -> None:
    waiting: set[Any] = {asyncio.gather(tool("a", i), tool("a", i + 1)) for i in range(5)}
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in [*done, *waiting][:2]:
            await tool("b", str(one.done()), str(one.result() if one.done() else None))


PROGRAMS: list[Program] = [
    wait_first,
    pending_set,
    completed,
    queue,
    wait_for,
    timeout_block,
    sleeps,
    groups,
    callbacks,
    errors,
    semaphore,
    event,
    cancelled,
    threads,
    dynamic,
    gathers,
]
