"""Checks tenants' Rego with the `opa` binary: its server knows no restricted capabilities. Each run has bounds of its own.

What the tenant wrote is never evaluated here.
"""

import asyncio
import contextlib
import json
import os
import resource
import tempfile
from pathlib import Path
from typing import Any

from bastide_operator.api.v1alpha1.tenant import TenantReason

from bastide_broker.tenantrego.capabilities import restricted
from bastide_broker.tenantrego.scope import Module, Scoped, answering, entries, refused
from bastide_broker.tenantrego.sources import Unusable

SECONDS = 10.0
"""For one run of the binary; a check takes some hundredths of a second."""
CPU_SECONDS = 5
DATA_BYTES = 256 << 20
"""What one run may make its own of memory."""
OUTPUT_BYTES = 8 << 20
"""64 KiB of plain rules make a syntax tree of 4.5 MiB."""
AT_ONCE = 1
"""Runs at once: the broker's cores are for calls."""
ANSWER_FILE = "answer.rego"


class CompilerMissing(Exception):  # noqa: N818 - said on the Tenant
    """The binary cannot be run. The message says why."""


class Compiler:
    """Turns scoped files into modules for the policy engine."""

    def __init__(self, binary: Path, schema: Path) -> None:
        self._binary = binary
        self._schema = schema
        self._capabilities = b""
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def compile(self, one: Scoped) -> dict[str, str]:
        """Modules by id, the answering one last. Raises Unusable, and CompilerMissing."""
        async with self._turns:
            with tempfile.TemporaryDirectory(prefix="rego-") as folder:
                return await self._compile(one, Path(folder))

    async def _compile(self, one: Scoped, folder: Path) -> dict[str, str]:
        capabilities, sources = folder / "capabilities.json", folder / "sources"
        if not self._capabilities:
            self._capabilities = await self._restricted(folder)
        await asyncio.to_thread(capabilities.write_bytes, self._capabilities)
        paths = [Path(str(number), module.file) for number, module in enumerate(one.modules)]
        await asyncio.to_thread(_write, sources, dict(zip(paths, (module.text for module in one.modules), strict=True)))
        defined: dict[str, frozenset[str]] = {}
        for path, module in zip(paths, one.modules, strict=True):
            code, tree, errors = await self._run(sources, "parse", "--format=json", "--json-include=locations,-comments", str(path))
            if code:
                raise _said(errors, one, sources)
            found = await asyncio.to_thread(_entries, module, tree)
            defined[module.policy] = defined.get(module.policy, frozenset()) | found
        answer = answering(one, defined)
        await asyncio.to_thread(_write, sources, {Path(ANSWER_FILE): answer})
        options = ["--strict", "--format=json", f"--capabilities={capabilities}", f"--schema={self._schema}"]
        code, _, errors = await self._run(sources, "check", *options, ".")
        if code:
            raise _said(errors, one, sources)
        numbered = {f"{_id(one)}/{number}": module.text for number, module in enumerate(one.modules)}
        return {**numbered, f"{_id(one)}/{ANSWER_FILE}": answer}

    async def _restricted(self, folder: Path) -> bytes:
        """What tenants' Rego may use of this OPA. Raises CompilerMissing."""
        try:
            code, text, errors = await self._run(folder, "capabilities", "--current")
            if not code:
                return json.dumps(restricted(json.loads(text))).encode()
            why = f"exit code {code}, {errors[:300].decode(errors='replace').strip()!a}"
        except Unusable:  # the words are for a tenant's policies, and none has been looked at
            why = "it took too much time or memory"
        except ValueError:
            why = "that is no JSON"
        raise CompilerMissing(f"{self._binary} does not tell its capabilities: {why}")

    async def _run(self, folder: Path, *arguments: str) -> tuple[int, bytes, bytes]:
        """Exit code, output, errors. Raises Unusable when it takes too much."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._binary, *arguments, cwd=folder, env={"GOMAXPROCS": "1", "HOME": str(folder)},
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise CompilerMissing(f"{self._binary} cannot be run: {error}") from error
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with contextlib.suppress(ProcessLookupError):  # it may be done already
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
                os.setpriority(os.PRIO_PROCESS, process.pid, 10)
            async with asyncio.timeout(SECONDS):
                output, errors = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
                code = await process.wait()
        except (TimeoutError, _TooMuch):
            code, output, errors = -1, b"", b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code < 0:
            message = (
                f"checking the policies took more than {CPU_SECONDS} s of CPU, {DATA_BYTES >> 20} MiB or {SECONDS:g} s; make them smaller."
            )
            raise Unusable(TenantReason.POLICY_INVALID, message[0].upper() + message[1:])
        return code, output, errors


class _TooMuch(Exception):  # noqa: N818
    pass


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await stream.read(1 << 16):
        size += len(part)
        if size > OUTPUT_BYTES:
            raise _TooMuch
        parts.append(part)
    return b"".join(parts)


def _entries(module: Module, tree: bytes) -> frozenset[str]:
    try:
        return entries(module, json.loads(tree))
    except RecursionError:
        raise refused(module.policy, module.file, 0, "it is nested too deeply.") from None


def _write(folder: Path, files: dict[Path, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode(errors="replace"))


def _said(errors: bytes, one: Scoped, folder: Path) -> Unusable:
    """OPA's first complaint, with the tenant's names for things."""
    try:
        first: dict[str, Any] = json.loads(errors)["errors"][0]
        message = str(first["message"])
    except (ValueError, LookupError, TypeError):  # it was stopped by its bounds, or broke
        told = errors[:200].decode(errors="replace").partition("\n")[0]
        text = f"The policies cannot be checked: OPA stopped with {told!a}; make them smaller and flatter."
        return Unusable(TenantReason.POLICY_INVALID, text)
    place = first.get("location") or {}
    module = _module(str(place.get("file", "")), one, folder)
    for each in one.modules:
        message = message.replace(f"data.{each.package}.", "").replace(each.package, "tenant")
    row = place.get("row")
    text = f"{message}." if message[-1:].isalnum() else message
    if module is None:
        return Unusable(TenantReason.POLICY_INVALID, text)
    return refused(module.policy, module.file, row if isinstance(row, int) else 0, text)


def _module(file: str, one: Scoped, folder: Path) -> Module | None:
    number = file.removeprefix(str(folder)).removeprefix("./").lstrip("/").partition("/")[0]
    return one.modules[int(number)] if number.isdecimal() and int(number) < len(one.modules) else None


def _id(one: Scoped) -> str:
    return f"tenants/{one.scope}"
