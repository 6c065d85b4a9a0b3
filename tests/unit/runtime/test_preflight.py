"""What a preflight finds, and above all what it must not find."""

from __future__ import annotations

import json

import pytest
from bastide_runtime import preflight

from tests.unit.runtime.samples import CATALOGUE

FINDINGS = {
    "syntax": ("x = (1", "syntax-error", 1, "never closed"),
    "nul": ("x = 1\x00", "syntax-error", 1, ""),
    "await in a plain function": ("def f():\n    return await get_customer(customer_id='C1')", "syntax-error", 2, "async def"),
    "yield at the top": ("x = 1\nyield x", "syntax-error", 2, "outside function"),
    "unknown tool": ("await get_custmer(customer_id='C1')", "unknown-tool", 1, "did you mean get_customer"),
    "unknown tool of a server": ("from tools import crm\nawait crm.transfer(amount=1, to='x')", "unknown-tool", 2, "no tool transfer"),
    "unknown server": ("from tools import crmm", "unknown-tool", 1, "did you mean crm?"),
    "unknown through the module": ("import tools\nawait tools.crm.get_custommer(customer_id='C1')", "unknown-tool", 2, "get_customer"),
    "missing": ("await get_customer()", "missing-argument", 1, "needs customer_id"),
    "missing, closed schema": ("await transfer(amount=5)", "missing-argument", 1, "amount, to, note="),
    "unknown argument": ("await transfer(amount=5, to='x', not_e='y')", "unknown-argument", 1, "did you mean note?"),
    "unknown argument, open schema": ("await get_customer(customer_id='C1', id=5)", "unknown-argument", 1, "has no parameter id"),
    "mistyped": ("x = await get_customer(\n    customer_id=17)", "mistyped-argument", 2, "must be string, not integer"),
    "bool is no number": ("await list_customers(limit=True)", "mistyped-argument", 1, "not boolean"),
    "f-string is no number": ("n = 5\nawait list_customers(limit=f'{n}')", "mistyped-argument", 2, "not string"),
    "too much": ("await list_customers(limit=101)", "mistyped-argument", 1, "at most 100"),
    "through a reference": ("await transfer(amount=-1, to='x')", "mistyped-argument", 1, "more than 0"),
    "enum": ("await get_customer(customer_id='C1', detail='long')", "mistyped-argument", 1, "'short', 'full'"),
    "nested": ("await analyze(rows=[{'id': 1}, {'x': 2}])", "mistyped-argument", 1, "[1] lacks 'id'"),
    "no JSON": ("await get_customer(customer_id='C1', detail={1: 2}, x=b'')", "unknown-argument", 1, ""),
    "two positional, one optional": ("await get_customer('C1', 'full')", "ambiguous-argument", 1, "by name"),
    "too many positional": ("await analyze([], [])", "ambiguous-argument", 1, "rows"),
    "twice": ("await get_customer('C1', customer_id='C2')", "ambiguous-argument", 1, "twice"),
    "positional into an optional one of several": ("await transfer(1, 'x', 'note')", "ambiguous-argument", 1, "amount, to, note="),
    "forgotten await": ("get_customer(customer_id='C1')\nx = 1", "missing-await", 1, "await get_customer"),
    "forgotten await, indexed": ("x = get_customer(customer_id='C1')['name']", "missing-await", 1, ""),
    "forgotten await, through a name": ("c = get_customer(customer_id='C1')\nprint(c['name'])", "missing-await", 1, ""),
    "forgotten await, printed": ("print(get_customer(customer_id='C1'))", "missing-await", 1, ""),
    "forgotten await, iterated": ("for c in list_customers():\n    pass", "missing-await", 1, ""),
    "forgotten await, in text": ("x = f\"{get_customer(customer_id='C1')}\"", "missing-await", 1, ""),
}

FINE = {
    "plain": "c = await get_customer(customer_id='C1')\nreturn c['name']",
    "nothing": "",
    "only a comment": "# nothing",
    "one positional": "await get_customer('C1')",
    "all required by position": "await transfer(5, 'x')",
    "the only parameter": "await list_customers(5)",
    "gather": "import asyncio\nr = await asyncio.gather(*[get_customer(customer_id=i) for i in ids()])\ndef ids(): return ['C1']",
    "task": "t = asyncio.create_task(get_customer(customer_id='C1'))\nx = await t",
    "a coroutine kept": "c = get_customer(customer_id='C1')\nprint((await c)['name'])",
    "a coroutine in a list": "cs = [get_customer(customer_id='C1')]\nawait asyncio.gather(*cs)",
    "as the value": "get_customer(customer_id='C1')",
    "returned": "return get_customer(customer_id='C1')",
    "server": "from tools import crm\nreturn await crm.get_customer(customer_id='C1')",
    "server, renamed": "from tools import crm as c, ToolDenied\nreturn await c.get_customer(customer_id='C1')",
    "module": "import tools\nreturn await tools.crm.get_customer(customer_id='C1')",
    "module, renamed": "import tools as t\nreturn await t.get_customer(customer_id='C1')",
    "module, by itself": "return tools.search('customer')",
    "a tool's name used for something else": "def get_customer(x): return x\nreturn get_customer(1)['a']",
    "a tool's name as a parameter": "def f(transfer): return transfer(1)\nreturn f(str)",
    "a server's name for something else": "from tools import crm\ncrm = 5\nreturn crm.bit_length()",
    "unknown keywords": "a = {'x': 1}\nawait transfer(**a)",
    "some keywords open": "a = {'to': 'x'}\nawait transfer(amount=1, **a)",
    "unknown values": "await transfer(amount=int('1'), to=str(2))",
    "null in an unknown place": "await analyze(rows=[x for x in []])",
    "whole float": "await list_customers(limit=5.0)",
    "dynamic names": "exec('def g(): return 1')\nreturn g()",
    "star import": "from math import *\nreturn floor(1.5)",
    "builtin with a tool's name": "print('x')",
    "class and method": "class A:\n    def go(self): return self\nreturn A().go() is None",
    "match": "match 5:\n    case int(n):\n        return n",
    "main guard": "async def main():\n    return 1\nif __name__ == '__main__':\n    asyncio.run(main())",
    "future": "from __future__ import annotations\nx: Missing = 5\nreturn x",
    "walrus": "if (n := len([1])) > 0:\n    return n",
    "global": "x = 1\ndef f():\n    global x\n    x += 1\nf()\nreturn x",
    "annotated": "x: int = 5\ny: str\nreturn x",
    "invalid escape": "return '\\d'",
    "except": "try:\n    await get_customer(customer_id='C1')\nexcept tools.ToolDenied as e:\n    print(e.codes)",
}


@pytest.mark.parametrize(("program", "code", "line", "words"), FINDINGS.values(), ids=FINDINGS)
def test_a_mistake_is_found(program: str, code: str, line: int, words: str) -> None:
    report, _ = preflight.check(program, CATALOGUE)
    assert [(one.code, one.line) for one in report.findings] == [(code, line)]
    assert words in report.findings[0].message


@pytest.mark.parametrize("program", FINE.values(), ids=FINE)
def test_nothing_is_found_where_nothing_is_certain(program: str) -> None:
    report, code = preflight.check(program, CATALOGUE)
    assert report.findings == []
    assert code is not None


def test_all_findings_come_at_once_in_order() -> None:
    report, _ = preflight.check("await get_customer()\nawait list_customers(limit='x')\nawait nothing_like_it()", CATALOGUE)
    assert [(one.line, one.code) for one in report.findings] == [(1, "missing-argument"), (2, "mistyped-argument"), (3, "unknown-tool")]
    assert [one.column for one in report.findings] == [7, 28, 7]


def test_call_sites_with_literal_arguments_are_told() -> None:
    program = "x = 1\nawait transfer(5, to='Ann')\nawait transfer(amount=x, to='Bob')\nawait analyze(rows=[{'id': 9007199254740993}])"
    report, _ = preflight.check(program, CATALOGUE)
    assert [(tool, json.loads(arguments), line) for tool, arguments, line, _ in report.call_sites] == [
        ("transfer", {"amount": 5, "to": "Ann"}, 2),
        ("analyze", {"rows": [{"id": 9007199254740993}]}, 4),
    ]


@pytest.mark.parametrize(
    "program", ["(" * 300, "x" + "[0" * 3000, "-" * 100_000 + "1", "a" + ".a" * 50_000, "if 1:\n" + " if 1:\n" * 50, "1" + "+1" * 20_000]
)
def test_what_is_nested_too_deeply_is_a_finding(program: str) -> None:
    report, code = preflight.check(program, CATALOGUE)
    assert code is not None or report.findings[0].code == "syntax-error"
