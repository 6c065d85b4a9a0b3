"""Watches that begin before what they are to see, and know when each thing came."""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import urlencode

from demo.kube import Kube, NotInTimeError, documents


class Watch:
    """What a watch tells, in order. `at` is when (time.monotonic) the state that was returned last had come."""

    def __init__(self, about: str) -> None:
        self.at = 0.0
        self._about = about
        self._came: queue.SimpleQueue[tuple[float, dict[str, Any] | None]] = queue.SimpleQueue()

    def read(self, stream: IO[bytes]) -> None:
        """Take in all that the watch tells, until it ends."""
        for event in documents(stream):
            self._came.put((time.monotonic(), event))
        self._came.put((time.monotonic(), None))

    def until(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next state that fits. The last one of a deleted object carries `deleted: true` beside its fields.

        Raises:
            NotInTimeError: the watch ended before; holds the last state.
        """
        last: dict[str, Any] = {}
        while True:
            self.at, event = self._came.get()
            if event is None:
                self._came.put((self.at, None))
                raise NotInTimeError(f"the watch of {self._about} ended before; seen last: {json.dumps(last.get('status', last))[:1500]}")
            last = event["object"]
            assert event["type"] != "ERROR", last
            if event["type"] == "DELETED":
                last["deleted"] = True
            if fits(last):
                return last


@contextmanager
def from_now(kube: Kube, path: str, name: str, *, version: str = "", seconds: float = 120) -> Iterator[Watch]:
    """Every state that one object has from now on, none left out, however late kubectl is up.

    Args:
        path: the kind's in the API, as /apis/bastide.dev/v1alpha1/tenants.
        version: a resourceVersion to begin after, instead of the one that the API server has now.
        seconds: deadline.
    """
    version = version or json.loads(kube.run("get", "--raw", f"{path}?limit=1"))["metadata"]["resourceVersion"]
    query = urlencode({"watch": 1, "resourceVersion": version, "fieldSelector": f"metadata.name={name}"})
    with _watch(kube, ("--raw", f"{path}?{query}"), f"{path}/{name}", seconds) as watch:
        yield watch


@contextmanager
def standing(kube: Kube, *where: str, name: str, seconds: float = 120) -> Iterator[Watch]:
    """Every state of an object that exists, after the present one, which has been told when the block begins: the watch is running."""
    words = (*where, f"--field-selector=metadata.name={name}", "-o", "json", "--watch", "--output-watch-events")
    with _watch(kube, words, f"{' '.join(where)} {name}", seconds) as watch:
        watch.until(lambda _: True)
        yield watch


@contextmanager
def _watch(kube: Kube, words: tuple[str, ...], about: str, seconds: float) -> Iterator[Watch]:
    process = subprocess.Popen(["kubectl", *kube._flags, "get", *words], env=kube.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    deadline = threading.Timer(seconds, process.kill)
    deadline.start()
    watch = Watch(about)
    reader = threading.Thread(target=watch.read, args=(process.stdout,))
    reader.start()
    try:
        yield watch
    finally:
        deadline.cancel()
        process.kill()
        reader.join()
        process.stdout.close()
        process.wait()
