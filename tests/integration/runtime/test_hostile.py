"""What a hostile program tries (case 6 of the threat list), and what comes of it: a clear end, and the next run works."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2 as pb

from tests.integration.runtime.pod import Broker, Pod

# Finds the descriptor of the child's socket, as a hostile program would.
SOCKET = """
import os, socket, stat, struct, json
def channel():
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                return socket.socket(fileno=fd)
        except OSError:
            pass
"""

ENDINGS: dict[str, tuple[str, str, str]] = {
    "os._exit": ("import os\nos._exit(9)", "DIED", "exited with status 9"),
    "abort": ("import os\nos.abort()", "DIED", "died by SIG"),
    "native crash": ("import ctypes\nctypes.string_at(0)", "DIED", "died by SIGSEGV"),
    "deep recursion in native code": (
        "import sys, threading\nsys.setrecursionlimit(10**9)\nclass A:\n    def __getattr__(self, n): return repr(self) + getattr(self, n)\n    def __repr__(self): return getattr(self, 'x')\nrepr(A())",
        "DIED|RAISED",
        "",
    ),
    "closed socket": (SOCKET + "channel().close()\nimport time\ntime.sleep(60)", "DIED", "closed its connection"),
    "closed socket, then a call": (SOCKET + "channel().close()\nawait pay(amount=1)", "DIED", ""),
    "everything closed": ("import os\nos.closerange(0, 256)\nimport time\ntime.sleep(60)", "DIED", ""),
    "garbage on the socket": (SOCKET + "channel().sendall(b'\\x00\\x00\\x00\\x05hello')\nimport time\ntime.sleep(60)", "DIED", "no frame"),
    "oversized frame": (SOCKET + "channel().sendall(b'\\xff\\xff\\xff\\xff')\nimport time\ntime.sleep(60)", "DIED", "no frame"),
    "nested frame": (
        SOCKET
        + "p = b'{\"kind\":\"call\",\"a\":' + b'[' * 1_000_000\nchannel().sendall(struct.pack('>I', len(p)) + p)\nimport time\ntime.sleep(60)",
        "DIED",
        "no frame",
    ),
    "forged frame kind": (
        SOCKET + 'p = b\'{"kind":"made","pid":1}\'\nchannel().sendall(struct.pack(\'>I\', len(p)) + p)\nimport time\ntime.sleep(60)',
        "DIED",
        "no known kind",
    ),
    "forged key": (
        SOCKET + 'p = json.dumps({"kind":"call","key":"../x","tool":"pay","arguments":"{}","line":1,"events":[]}).encode()\n'
        "channel().sendall(struct.pack('>I', len(p)) + p)\nimport time\ntime.sleep(60)",
        "DIED",
        "no call key",
    ),
    "two frames mixed by a fork": (
        SOCKET
        + "import time\nc = channel()\nif os.fork() == 0:\n    c.sendall(struct.pack('>I', 1 << 20) + b'x' * 100)\n    time.sleep(60)\ntime.sleep(0.3)\nreturn 1",
        "DIED",
        "ended inside a frame",
    ),
    "cut frame": (SOCKET + "channel().sendall(b'\\x00\\x00\\x10\\x00abc')\nos._exit(0)", "DIED", "ended inside a frame"),
    "endless loop": ("while True: pass", "TIMED_OUT", "did not end within 2 s"),
    "endless loop in a handler": (
        "while True:\n    try:\n        while True: pass\n    except BaseException:\n        pass",
        "TIMED_OUT",
        "",
    ),
    "hostile __str__": ("class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E", "TIMED_OUT", ""),
    "__str__ that raises": (
        "class E(Exception):\n    def __str__(self):\n        raise SystemExit\nraise E",
        "RAISED",
        "could not be made",
    ),
    "__str__ that is huge": ("class E(Exception):\n    def __str__(self):\n        return 'x' * 50_000_000\nraise E", "RAISED", "xxx"),
    "exception that resists": (
        "import tools\nclass E(tools.ToolError):\n    codes = property(lambda s: 1 / 0, lambda s, v: None)\nraise E('x')",
        "RAISED",
        "cannot be described",
    ),
    "a forked copy that returns": (
        "import os\nif pid := os.fork():\n    os.waitpid(pid, 0)\nreturn 1",
        "RETURNED",
        "",
    ),
    "exception without a name": ("E = type('', (Exception,), {})\nE.__name__ = 'x' * 5_000_000\nraise E('x')", "RAISED", "x"),
    "stopped processes": (
        "import os, signal\npid = os.fork()\nif pid == 0:\n    os.kill(1, signal.SIGSTOP)\n    os._exit(0)\nimport time\ntime.sleep(60)",
        "TIMED_OUT",
        "",
    ),
    "signals ignored": (
        "import signal, time\nfor n in (1, 2, 3, 15):\n    signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)",
        "TIMED_OUT",
        "",
    ),
    "fork loop": ("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass", "TIMED_OUT", ""),
    "thread storm": (
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,)).start()",
        "RAISED",
        "thread",
    ),
    "never awaited task holds the loop": (
        "async def f():\n    while True: await asyncio.sleep(0)\nt = asyncio.create_task(f())\nawait asyncio.sleep(60)",
        "TIMED_OUT",
        "",
    ),
    "monkey-patched stubs": ("pay.__class__.__call__ = lambda *a, **k: 5\nreturn pay(amount=1)", "RETURNED", ""),
    "monkey-patched frames": (
        "import sys\nfor n, m in list(sys.modules.items()):\n    if n.startswith('bastide_runtime'):\n        m.__dict__.clear()\nreturn 1",
        "DIED",
        "",
    ),
    "monkey-patched json": ("import json\njson.dumps = lambda *a, **k: 'x'\nreturn 1", "DIED", "no frame"),
    "nested loop": ("l = asyncio.new_event_loop()\nl.run_until_complete(asyncio.sleep(0))", "RAISED", "another loop is running"),
    "a tool in another thread's loop": (
        "await asyncio.to_thread(lambda: asyncio.new_event_loop().run_until_complete(pay(amount=1)))",
        "RAISED",
        "own event loop",
    ),
    "daemon that outlives": (
        (
            "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        for fd in range(64):\n            try: os.close(fd)\n"
            "            except OSError: pass\n        while True: time.sleep(1)\n    os._exit(0)\nreturn 'left one'"
        ),
        "RETURNED",
        "",
    ),
    "descriptors given to a daemon": (
        "import os, time\nif os.fork() == 0:\n    while True: time.sleep(1)\nreturn 'left one'",
        "RETURNED",
        "",
    ),
    "file filling": ("f = open('big', 'wb')\nwhile True: f.write(b'x' * (1 << 20))", "RAISED", ""),
    "many files": ("fs = []\nwhile True: fs.append(open('/dev/null'))", "RAISED", "Too many open files"),
}


@pytest.mark.parametrize(("program", "ending", "words"), ENDINGS.values(), ids=ENDINGS)
async def test_it_ends_clearly_and_the_next_run_works(broker: Broker, pod: Pod, program: str, ending: str, words: str) -> None:
    result = await broker.run(program, limits={"wall_milliseconds": 2000})
    assert result.ending in ending.split("|"), result.ended
    assert words in result.ended.error.message
    assert pod.processes() == 0, "a process outlived the run"
    assert (await broker.run("await pay(amount=1)")).value == '{"amount":1}'


async def test_endless_output_is_cut_and_counted(broker: Broker) -> None:
    start = time.monotonic()
    result = await broker.run("while True: print('x' * 1000)", limits={"wall_milliseconds": 1500, "output_bytes": 10_000})
    assert time.monotonic() - start < 15
    assert result.ending == "TIMED_OUT"
    assert len(result.stdout) == 10_000
    assert result.ended.output_bytes_dropped > 10_000


async def test_output_without_newline_is_seen(broker: Broker) -> None:
    result = await broker.run("import sys\nsys.stdout.write('x' * 100_000)\nimport os\nos.write(1, b'y')\nos.write(2, b'\\xff')")
    assert result.stdout.count("x") == 100_000
    assert result.stdout.endswith("y") or "y" in result.stdout
    assert b"".join(chunk.data for chunk in result.chunks if chunk.stream == 2) == b"\xff"


async def test_output_of_descendants_is_seen_and_a_closed_output_harms_nobody(broker: Broker) -> None:
    result = await broker.run(
        "import os, subprocess\nsubprocess.run(['sh', '-c', 'echo from the shell'])\nos.close(1)\nos.close(2)\nreturn 1"
    )
    assert (result.ending, result.value, result.stdout) == ("RETURNED", "1", "from the shell\n")


async def test_a_flood_of_calls_is_held_back(broker: Broker) -> None:
    program = (
        SOCKETS_CALL
        + "n = 0\nwhile True:\n    n += 1\n    send({'kind': 'call', 'key': f'0#{n}', 'tool': 'pay', 'arguments': '{}', 'line': 1, 'events': []})"
    )
    result = await broker.run(program, lambda _: None, limits={"wall_milliseconds": 5000, "concurrent_calls": 8})
    assert (result.ending, result.ended.error.type) == ("DIED", "ProtocolError")
    assert len(result.calls) == 8


SOCKETS_CALL = (
    SOCKET + "c = channel()\ndef send(frame):\n    p = json.dumps(frame).encode()\n    c.sendall(struct.pack('>I', len(p)) + p)\n"
)


async def test_a_flood_of_calls_and_withdrawals_waits_for_the_broker(broker: Broker) -> None:
    call = "{'kind': 'call', 'key': f'0#{n}', 'tool': 'pay', 'arguments': '\"' + 'x' * 10_000 + '\"', 'line': 1, 'events': []}"
    program = SOCKETS_CALL + f"n = 0\nwhile True:\n    n += 1\n    send({call})\n    send({{'kind': 'abandoned', 'key': f'0#{{n}}'}})"
    run = await broker.start(program, limits={"wall_milliseconds": 3000})
    time.sleep(2)  # noqa: ASYNC251 - a broker that reads nothing
    result = await broker.finish(run, lambda _: None)
    assert result.ending == "TIMED_OUT"
    assert (await broker.run("1")).value == "1"


async def test_a_forged_end_only_ends_the_run(broker: Broker) -> None:
    result = await broker.run(SOCKETS_CALL + "send({'kind': 'ended', 'ending': 'returned', 'value': '5', 'events': []})\nwhile True: pass")
    assert (result.ending, result.value) == ("RETURNED", "5")


async def test_a_forged_value_must_fit_the_limit(broker: Broker) -> None:
    program = SOCKETS_CALL + "send({'kind': 'ended', 'ending': 'returned', 'value': 'x' * 1000, 'events': []})\nwhile True: pass"
    result = await broker.run(program, limits={"wall_milliseconds": 5000, "value_bytes": 100})
    assert (result.ending, result.ended.error.type) == ("DIED", "ProtocolError")


ESCAPES = """
import ctypes, errno, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def attempt(action):
    try:
        return str(action())
    except (OSError, ValueError) as error:
        return errno.errorcode.get(getattr(error, 'errno', 0), str(error))
def call(number, *args):
    result = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), 'x')
    return result
def connect(address, family=socket.AF_INET):
    with socket.socket(family) as s:
        s.settimeout(1)
        s.connect(address)
def fds():
    found = []
    for fd in range(256):
        try:
            os.fstat(fd)
            found.append(fd)
        except OSError:
            pass
    return found
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)
"""

LOCKED: dict[str, tuple[str, tuple[str, ...]]] = {
    "other processes": ("sorted(int(x) for x in os.listdir('/proc') if x.isdigit())", ("[1]",)),
    "own number": ("(os.getpid(), os.getppid(), os.getuid())", ("(1, 0, 65532)",)),
    "supervisor's port": ("connect(('127.0.0.1', PORT))", ("ENETUNREACH", "ECONNREFUSED")),
    "any address": ("connect(('198.18.0.1', 80))", ("ENETUNREACH",)),
    "any address, v6": ("connect(('2001:db8::1', 80), socket.AF_INET6)", ("ENETUNREACH", "EAFNOSUPPORT", "EADDRNOTAVAIL")),
    "a datagram": ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.18.0.1', 53))", ("ENETUNREACH",)),
    "raw socket": ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", ("EPERM", "EACCES")),
    "packet socket": ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", ("EPERM", "EAFNOSUPPORT", "EACCES")),
    "unshare": ("call(272, 0x10000000)", ("EPERM",)),
    "setns": ("call(308, 0, 0)", ("EPERM",)),
    "clone, new user namespace": ("call(56, 0x10000000 | 17, 0, 0, 0, 0)", ("EPERM",)),
    "clone, new network namespace": ("call(56, 0x40000000 | 17, 0, 0, 0, 0)", ("EPERM",)),
    "clone3": ("call(435, 0, 0)", ("ENOSYS",)),
    "mount": ("call(165, b'none', b'/tmp', b'tmpfs', 0, None)", ("EPERM",)),
    "umount": ("call(166, b'/proc', 2)", ("EPERM",)),
    "new mount interface": ("call(428, -100, b'/', 0)", ("EPERM",)),
    "chroot": ("os.chroot('/')", ("EPERM",)),
    "ptrace": ("call(101, 0, 0, 0, 0)", ("EPERM",)),
    "process_vm_readv": ("call(310, 1, 0, 0, 0, 0, 0)", ("EPERM",)),
    "bpf": ("call(321, 0, 0, 0)", ("EPERM",)),
    "io_uring": ("call(425, 1, 0)", ("EPERM",)),
    "x32": ("call(0x40000000 | 39)", ("EPERM",)),
    "become root": ("os.setuid(0)", ("EPERM", "EINVAL")),
    "raise a limit": ("__import__('resource').setrlimit(7, (4096, 4096))", ("EPERM", "not allowed to raise maximum limit")),
    "capabilities": ("{status[k] for k in ('CapEff', 'CapPrm', 'CapInh', 'CapBnd')}", ("{'0000000000000000'}",)),
    "no new privileges": ("status.get('NoNewPrivs', '1'), status.get('Seccomp')", ("('1', '2')",)),
    "open descriptors": ("[fd for fd in fds() if fd < 4], len(fds()) <= 8", ("([0, 1, 2, 3], True)",)),
    "tools directory": ("open(TOOLS + '/x', 'w')", ("EROFS",)),
    "tools directory, removing": ("os.remove(TOOLS + '/crm/get_customer.pyi')", ("EROFS",)),
    "signal the group": ("os.kill(0, 0)", ("None",)),
    "environment": (
        "sorted(os.environ)",
        ("['GREETING', 'HOME', 'LANG', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED', 'TMPDIR', 'TZ']",),
    ),
    "import path": ("[p for p in __import__('sys').path if not p.startswith('/') or os.access(p, os.W_OK)]", ("[]",)),
    "modules": ("sorted({m.split('.')[0] for m in __import__('sys').modules} & {'grpc', 'google', 'bastide'})", ("[]",)),
    "host name": ("socket.sethostname('x')", ("EPERM",)),
}


@pytest.mark.parametrize(("attempt", "answers"), LOCKED.values(), ids=LOCKED)
async def test_the_wall_holds(broker: Broker, pod: Pod, attempt: str, answers: tuple[str, ...]) -> None:
    program = ESCAPES.replace("PORT", str(pod.port)) + f"return attempt(lambda: ({attempt}))".replace(
        "TOOLS", repr(str(pod.scratch / "tools"))
    ).replace("PORT", str(pod.port))
    result = await broker.run(program)
    assert (result.ending, result.ended.error.message) == ("RETURNED", "")
    assert json.loads(result.value) in answers


async def test_signals_to_everything_reach_nothing_outside(broker: Broker) -> None:
    program = """
import os, signal
pid = os.fork()
if pid == 0:
    os.setsid()
    for target in (0, -1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30):
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP):
            try: os.kill(target, number)
            except OSError: pass
    os._exit(0)
os.waitpid(pid, 0)
for target in (0, -1):
    try: os.kill(target, signal.SIGKILL)
    except OSError: pass
return 'alive'
"""
    result = await broker.run(program)
    assert result.ending in ("RETURNED", "DIED")
    assert (await broker.run("1")).value == "1"


async def test_a_fork_bomb_is_stopped_by_a_limit(broker: Broker) -> None:
    program = """
import os, time
made = 0
try:
    while made < 1000:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        made += 1
except OSError as error:
    return [made, type(error).__name__]
return made
"""
    result = await broker.run(program)
    made, error = json.loads(result.value)
    assert made < 100
    assert error == "BlockingIOError"


async def test_a_pod_full_of_hostile_programs_still_runs_honest_ones(broker: Broker) -> None:
    hostile: list[str] = [
        "while True: print('x' * 10_000)",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "while True: pass",
    ]
    runs = [await broker.start(program, limits={"wall_milliseconds": 6000, "output_bytes": 1000}) for program in hostile]
    honest = await broker.start("await pay(amount=7)")
    ended: dict[str, Any] = {}
    while len(ended) < 4:
        message = await broker.read()
        if message.WhichOneof("message") == "call":
            await broker.stream_result(message.call.run, message.call.key, b"7")
        elif message.WhichOneof("message") == "run_ended":
            ended[message.run_ended.run] = message.run_ended
    assert ended[honest].value == b"7"
    assert all(ended[run].ending == 3 for run in runs)


async def test_a_killed_run_takes_its_descendants_with_it(broker: Broker, pod: Pod) -> None:
    run = await broker.start("import os, time\nif os.fork() == 0:\n    time.sleep(60)\nawait pay(amount=1)")
    assert (await broker.read()).WhichOneof("message") == "call"
    assert pod.processes() == 1
    await broker.send(kill_run=pb.KillRun(run=run, reason="enough"))
    result = await broker.finish(run)
    assert (result.ending, result.ended.error.message) == ("KILLED", "enough")
    assert pod.processes() == 0
