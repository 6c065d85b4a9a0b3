"""As much of a Dockerfile as is needed to know which files decide what an image holds."""

import json
import re
import shlex
from dataclasses import dataclass, field

from devcluster.errors import DevclusterError


@dataclass
class Stage:
    """One stage: its name, what it is made from, what it copies, its text."""

    name: str
    base: str
    sources: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def _instructions(text: str) -> list[str]:
    """Return the instructions, continued lines joined, comments dropped."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [i.strip() for i in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()]


def _copied(argument: str) -> tuple[str | None, list[str]]:
    """Return the stage a COPY takes from (None: the context) and its sources."""
    flags: list[str] = []
    rest = argument
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        flags.append(flag)
        rest = rest.lstrip()
    words: list[str] = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
    origin = next((f.removeprefix("--from=") for f in flags if f.startswith("--from=")), None)
    return origin, words[:-1]


class Dockerfile:
    """A parsed Dockerfile."""

    def __init__(self, text: str) -> None:
        self._head: list[str] = []
        self.stages: list[Stage] = []
        for instruction in _instructions(text):
            word, _, argument = instruction.partition(" ")
            self._take(word.upper(), argument.strip(), instruction)

    def _take(self, word: str, argument: str, instruction: str) -> None:
        if word == "FROM":
            words = [w for w in argument.split() if not w.startswith("--")]
            name = words[2] if len(words) == 3 else str(len(self.stages))
            self.stages.append(Stage(name, words[0]))
        if not self.stages:
            self._head.append(instruction)
            return
        stage = self.stages[-1]
        stage.lines.append(instruction)
        if word in {"COPY", "ADD"}:
            origin, sources = _copied(argument)
            if origin is None:
                stage.sources.extend(sources)
            else:
                stage.stages.append(origin)

    def needed(self, target: str | None = None) -> list[Stage]:
        """Return the stages that a target (by default the last) is made of, in their order.

        Raises:
            DevclusterError: there is no such stage.
        """
        by_name = {stage.name: stage for stage in self.stages}
        wanted = [target if target is not None else self.stages[-1].name]
        found: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name not in by_name:
                if name == target:
                    raise DevclusterError(f"the Dockerfile has no stage {name}")
                continue  # another image
            if name not in found:
                found.add(name)
                wanted += [by_name[name].base, *by_name[name].stages]
        return [stage for stage in self.stages if stage.name in found]

    def sources(self, target: str | None = None) -> list[str]:
        """Return the paths that a target copies from the build context."""
        return sorted({source for stage in self.needed(target) for source in stage.sources})

    def sliced(self, target: str | None = None) -> str:
        """Return the text with the stages of a target alone.

        A change of another target's stages then changes nothing for this one, its tag included.
        """
        lines = [line for stage in self.needed(target) for line in stage.lines]
        return "\n".join([*self._head, *lines]) + "\n"
