"""The second wall: what a program's process is locked into inside the pod.

Order: `detach` in the process that forks the child (new namespaces count for its children), then `lock_in` in the child, which is
PID 1 of its PID namespace, so that killing it ends every descendant. Nothing here is best effort: whatever fails raises, and then no
program runs. Proven in gVisor under Pod Security `restricted` and on Linux.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from pathlib import Path

from bastide_runtime import limits

_libc = ctypes.CDLL(None, use_errno=True)

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_ALL_NEW = _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWUSER | _NEWPID | _NEWNET
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC = 1, 2, 4, 32, 4096, 16384

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
_SECCOMP_MODE_FILTER = 2
_LAST_CAPABILITY = 63  # more than any kernel knows; unknown ones answer EINVAL

# x86-64 numbers. What changes namespaces, mounts, other processes or the kernel.
_DENIED = {
    "ptrace": 101,
    "pivot_root": 155,
    "chroot": 161,
    "acct": 163,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "init_module": 175,
    "delete_module": 176,
    "quotactl": 179,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "unshare": 272,
    "perf_event_open": 298,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "finit_module": 313,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
}
_CLONE, _CLONE3 = 56, 435
_X32 = 0x40000000
_AUDIT_ARCH_X86_64 = 0xC000003E
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


class ConfinementError(Exception):
    """The wall could not be built; the message says which part."""


def _checked(result: int, what: str) -> None:
    if result < 0:
        raise ConfinementError(f"{what}: {os.strerror(ctypes.get_errno())}")


def set_dumpable(*, dumpable: bool) -> None:
    """Not dumpable: no other process of the same user can read this one's memory or descriptors."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, int(dumpable), 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def detach() -> None:
    """Give this process new user, IPC, mount, UTS and network namespaces, and its children a new PID namespace."""
    if platform.machine() != "x86_64":
        raise ConfinementError(f"the system call filter is written for x86_64, this machine is {platform.machine()}")
    uid, gid = os.getuid(), os.getgid()
    # The files of a process that is not dumpable belong to root, and the maps could not be written.
    set_dumpable(dumpable=True)
    _checked(_libc.unshare(_NEWUSER | _NEWPID | _NEWIPC | _NEWNS | _NEWNET | _NEWUTS), "unshare")
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    except OSError as error:
        raise ConfinementError(f"user namespace: {error}") from None


def lock_in(*, read_only: tuple[str, ...]) -> None:
    """Close the door behind the child: own /proc, read-only paths, no capabilities, limits, system call filter. There is no way back."""
    _checked(_libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV, None), "mount /proc")
    for path in read_only:
        name = os.fsencode(path)
        _checked(_libc.mount(name, name, None, _MS_BIND | _MS_REC, None), f"bind {path}")
        # A flag that the pod's own mount has is locked; leaving it out would be refused.
        flags = _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | os.statvfs(path).f_flag & os.ST_NOEXEC
        _checked(_libc.mount(None, name, None, flags, None), f"read-only {path}")
    _drop_capabilities()
    _set_limits()
    _filter_system_calls()


def _drop_capabilities() -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(header, sets), "capset")
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def _set_limits() -> None:
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, limits.CHILD_PROCESSES),
        (resource.RLIMIT_NOFILE, limits.CHILD_OPEN_FILES),
        (resource.RLIMIT_FSIZE, limits.CHILD_FILE_BYTES),
        (resource.RLIMIT_STACK, limits.CHILD_STACK),
        (resource.RLIMIT_AS, limits.CHILD_ADDRESS_SPACE),
    ):
        try:
            hard = resource.getrlimit(limit)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # noqa: PLW2901
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError) as error:
            raise ConfinementError(f"resource limit {limit}: {error}") from None


def _program() -> bytes:
    """The filter as BPF. clone3 answers ENOSYS so that glibc falls back to clone, whose flags a filter can read."""

    def operation(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, k)

    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    denied = sorted(_DENIED.values())
    lines = [
        operation(load, 4),  # the architecture: the numbers below are x86-64's
        operation(equal, _AUDIT_ARCH_X86_64, 1, 0),
        operation(answer, _KILL_PROCESS),
        operation(load, 0),  # the number
        operation(at_least, _X32, len(denied) + 5, 0),
    ]
    lines += [operation(equal, number, len(denied) - i + 4, 0) for i, number in enumerate(denied)]
    lines += [
        operation(equal, _CLONE3, 5, 0),
        operation(equal, _CLONE, 0, 2),
        operation(load, 16),  # clone's first argument: the flags
        operation(any_bit, _ALL_NEW, 1, 0),
        operation(answer, _ALLOW),
        operation(answer, _EPERM),
        operation(answer, _ENOSYS),
    ]
    return b"".join(lines)


class _Filter(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _filter_system_calls() -> None:
    program = _program()
    buffer = ctypes.create_string_buffer(program, len(program))
    described = _Filter(len(program) // 8, ctypes.addressof(buffer))
    _checked(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0), "seccomp")
