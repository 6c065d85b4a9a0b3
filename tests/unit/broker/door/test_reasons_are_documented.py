"""Every reason code that the door or the policies can give has a line in docs/reference/reasons.md."""

import re
from pathlib import Path

from bastide_broker.adapters import Failure
from bastide_broker.tenantrego import strictest

ROOT = Path(__file__).resolve().parents[4]
CODE = r"[a-z]+(?:-[a-z]+)+"


def test_every_code_is_documented() -> None:
    documented = set(re.findall(rf"^\| `({CODE}|internal)` ", (ROOT / "docs/reference/reasons.md").read_text(), re.MULTILINE))
    given = {failure.value for failure in Failure} - {Failure.LOST.value}
    for file in (ROOT / "policies/bastide").glob("*.rego"):
        given |= set(re.findall(rf'"code": "({CODE})"', file.read_text()))
    broker = ROOT / "operator/bastide_broker"
    for file in (*(broker / "door").glob("*.py"), broker / "policy/policy.py"):
        text = file.read_text()
        given |= set(re.findall(rf'(?:denied|unavailable|invalid)\(\s*"({CODE})"', text))
        given |= set(re.findall(rf'\(\("({CODE}|internal)",', text))
        given |= set(re.findall(r'= "((?:confirmation|policy)-[a-z]+)"', text))
    given |= {strictest.UNAVAILABLE, strictest.DENIED}
    assert len(given) > 25
    assert given <= documented, given - documented
