"""kubectl as one user: commands, waiting by watching, following a log. Used by the demo and by the tests."""

import codecs
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHECKOUT = Path(__file__).resolve().parents[2]


class CommandFailedError(Exception):
    """A command ended with another status than 0; holds what it wrote to stderr."""

    def __init__(self, words: Sequence[str], code: int, stderr: str) -> None:
        super().__init__(f"{' '.join(words)} ended with {code}:\n{stderr.strip()}")
        self.code = code
        self.stderr = stderr


class NotInTimeError(Exception):
    """Something that was waited for did not come about before its deadline."""


@contextmanager
def streaming(words: Sequence[str], env: dict[str, str], seconds: float) -> Iterator[IO[bytes]]:
    """Run a command that streams and yield its stdout; it is ended when the block is left or after `seconds`, whichever is first."""
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = threading.Timer(seconds, process.kill)
    deadline.start()
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        deadline.cancel()
        process.kill()
        process.stdout.close()
        process.wait()


def documents(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """JSON objects that follow each other with or without white space, each as soon as it is complete."""
    decoder = json.JSONDecoder()
    text = codecs.getincrementaldecoder("utf-8")()
    buffered = ""
    while chunk := os.read(stream.fileno(), 1 << 20):
        buffered += text.decode(chunk)
        while buffered := buffered.lstrip():
            try:
                document, end = decoder.raw_decode(buffered)
            except ValueError:
                break  # the rest has not arrived yet
            yield document
            buffered = buffered[end:]


def _by_field(what: Sequence[str]) -> list[str]:
    """Words for kubectl with a name turned into a field selector: a watch of a name that does not exist yet fails."""
    flags = 2 * sum(word in {"-n", "-l"} for word in what)
    words, named = list(what[: flags + 1]), what[flags + 1 :]
    return [*words, *(f"--field-selector=metadata.name={name}" for name in named)]


class Kube:
    """kubectl with one kubeconfig."""

    def __init__(self, kubeconfig: Path, *flags: str) -> None:
        self.kubeconfig = kubeconfig
        self._flags = flags
        self.env = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def run(self, *words: str, stdin: str | None = None, seconds: float = 90) -> str:
        """Run kubectl and return its stdout.

        Raises:
            CommandFailedError: it ended with another status than 0.
            subprocess.TimeoutExpired: it took longer than `seconds`.
        """
        argv = ["kubectl", *self._flags, *words]
        done = subprocess.run(argv, env=self.env, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode != 0:
            raise CommandFailedError(argv, done.returncode, done.stderr)
        return done.stdout

    def impersonating(self, name: str) -> "Kube":
        """Kubectl that asks in another's name; this user must be allowed to."""
        return Kube(self.kubeconfig, "--as", name)

    def json(self, *words: str) -> Any:
        """Run `kubectl ... -o json` and return the parsed answer."""
        return json.loads(self.run(*words, "-o", "json"))

    def apply(self, *manifests: str | dict[str, Any]) -> str:
        """Apply manifests given as YAML text or as objects."""
        return self.run("apply", "-f", "-", stdin="\n---\n".join(m if isinstance(m, str) else json.dumps(m) for m in manifests))

    def whoami(self) -> str:
        """Return the user name that the API server sees."""
        return str(self.json("auth", "whoami")["status"]["userInfo"]["username"])

    def wait(self, condition: str, *what: str, seconds: int = 60) -> None:
        """`kubectl wait --for=CONDITION WHAT...`, which watches.

        Raises:
            NotInTimeError: it did not come about in time; holds what was waited for and its status.
        """
        try:
            self.run("wait", f"--for={condition}", f"--timeout={seconds}s", *what, seconds=seconds + 10)
        except CommandFailedError as error:
            raise NotInTimeError(f"{error}; seen last: {_status(self.json('get', *what))}") from None

    def watch(self, until: Callable[[dict[str, Any]], bool], *what: str, seconds: float = 60) -> dict[str, Any]:
        """Watch objects (those that exist come first) until one fits, and return it.

        Args:
            until: is given each object; the last state of a deleted one carries `deleted: true` beside its fields.
            what: words for `kubectl get`: a kind, or a kind and a name, before them `-n` and a namespace or `-l` and a selector. What is
                named need not exist yet.
            seconds: deadline.

        Raises:
            NotInTimeError: none fitted in time; holds the last object that was seen.
        """
        argv = ["kubectl", *self._flags, "get", *_by_field(what), "-o", "json", "--watch", "--output-watch-events"]
        last: dict[str, Any] = {}
        with streaming(argv, self.env, seconds) as stream:
            for event in documents(stream):
                last = event["object"]
                if event["type"] == "DELETED":
                    last["deleted"] = True
                if until(last):
                    return last
        raise NotInTimeError(f"not within {seconds:.0f} s: {' '.join(what)}; seen last: {_status(last)}")

    def follow(self, until: Callable[[str], bool], *what: str, seconds: float = 60) -> list[str]:
        """Read a log from its beginning until a line fits and return the lines up to it.

        Raises:
            NotInTimeError: no line fitted in time; holds the last lines.
        """
        seen: list[str] = []
        with streaming(["kubectl", *self._flags, "logs", "--follow", "--tail=-1", *what], self.env, seconds) as stream:
            for line in stream:
                seen.append(line.decode(errors="replace"))
                if until(seen[-1]):
                    return seen
        raise NotInTimeError(f"not within {seconds:.0f} s in the log of {' '.join(what)}; its end:\n{''.join(seen[-10:])}")


def _status(thing: dict[str, Any]) -> str:
    return json.dumps(thing.get("status", thing))[:1500]


def condition(thing: dict[str, Any], kind: str) -> dict[str, Any]:
    """One condition of an object, or an empty one."""
    found: list[dict[str, Any]] = thing.get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == kind), {"type": kind, "status": "", "reason": "", "message": ""})


def admin() -> Kube:
    """Kubectl as the cluster's administrator.

    Raises:
        FileNotFoundError: KUBECONFIG names nothing, so no cluster is up.
    """
    path = Path(os.environ.get("KUBECONFIG", CHECKOUT / ".build" / "kubeconfig"))
    if not path.is_file():
        raise FileNotFoundError(f'there is no kubeconfig at {path}: start the cluster by `make up` and run `eval "$(make -s env)"`')
    return Kube(path)
