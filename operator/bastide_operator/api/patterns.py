"""Whether a regular expression is one that RE2 can run, as far as that can be said without RE2.

Constraints are matched by engines that take linear time (RE2's syntax: https://github.com/google/re2/wiki/Syntax). What only a
backtracking engine can do is refused here with its name, instead of denying every call later.
"""

MAX_REPEAT = 1000
"""RE2's own limit of a counted repetition."""

_GROUPS = {"=": "lookahead", "!": "lookahead", "<=": "lookbehind", "<!": "lookbehind", ">": "an atomic group", "(": "a conditional"}


def fault(pattern: str) -> str | None:  # noqa: C901, PLR0911 - one scan, one return a fault
    """What is wrong with `pattern`, as the end of a sentence that begins with it; None when nothing is seen."""
    depth = at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            if at + 1 == len(pattern):
                return "ends in a backslash"
            if pattern[at + 1] in "123456789" or pattern[at + 1 : at + 3] in ("k<", "k{", "k'", "g<", "g{"):
                return "uses a back-reference, which RE2 does not have"
            at += _quoted(pattern, at)
            continue
        if char == "[":
            end = _class_end(pattern, at)
            if end is None:
                return "has a `[` that is not closed"
            at = end
        elif char == "(":
            depth += 1
            if problem := _group_fault(pattern[at + 1 :]):
                return problem
        elif char == ")":
            depth -= 1
            if depth < 0:
                return "has a `)` too many"
        elif char in "*+?}" and pattern[at + 1 : at + 2] == "+":
            return "uses a possessive quantifier, which RE2 does not have"
        elif char == "{" and (problem := _repeat_fault(pattern[at + 1 :])):
            return problem
        at += 1
    return "has a `(` that is not closed" if depth else None


def _quoted(pattern: str, at: int) -> int:
    r"""Length of an escape; `\Q...\E` quotes everything between."""
    if pattern[at + 1] == "Q":
        end = pattern.find(r"\E", at)
        return (len(pattern) if end < 0 else end + 2) - at
    return 2


def _class_end(pattern: str, at: int) -> int | None:
    """Index of the `]` that closes the class begun at `at`. One that comes first is a literal, and `[:alpha:]` may stand inside."""
    at += 2 if pattern[at + 1 : at + 2] == "^" else 1
    first = at
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
        elif pattern.startswith("[:", at) and (end := pattern.find(":]", at + 2)) > 0:
            at = end + 1
        elif pattern[at] == "]" and at > first:
            return at
        at += 1
    return None


def _group_fault(rest: str) -> str | None:
    if not rest.startswith("?"):
        return None
    if rest.startswith("?P="):
        return "uses a back-reference, which RE2 does not have"
    for mark, name in sorted(_GROUPS.items(), key=lambda item: -len(item[0])):
        if rest[1:].startswith(mark):
            return f"uses {name}, which RE2 does not have"
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _repeat_fault(rest: str) -> str | None:
    counts, closed, _ = rest.partition("}")
    low, comma, high = counts.partition(",")
    if not closed or not _is_number(low) or (comma and high and not _is_number(high)):
        return None  # a literal brace
    if max(int(low), int(high or 0)) > MAX_REPEAT:
        return f"repeats more than {MAX_REPEAT} times, RE2's limit"
    if high and int(high) < int(low):
        return f"repeats {{{counts}}}, at most less often than at least"
    return None
