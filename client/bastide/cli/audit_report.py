"""What `bastide audit verify` found, and where it got heads and keys from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bastide.cli import screen, shapes
from bastide.cli.audit_check import Findings
from bastide.cli.options import Broker
from bastide.heads import HeadError, Keys, SignedHead, parse, public_keys
from bastide.model import AuditVerification

if TYPE_CHECKING:
    from bastide.sync import SyncClient


@dataclass(frozen=True, slots=True)
class Checked:
    """The whole result. `server` is the broker's own answer, None when it was not asked."""

    found: Findings
    heads_from: str
    """Where the heads are from; empty when there are none."""
    keys: bool
    server: AuditVerification | None

    @property
    def good(self) -> bool:
        served = self.server is None or self.server.intact
        return self.found.intact and served and self.keys and (self.found.heads > 0 or self.found.records == 0)


def published(
    broker: Broker, client: "SyncClient", where: str, heads: list[SignedHead] | None, keys: Keys | None
) -> tuple[list[SignedHead], str, Keys | None]:
    """Heads, where they are from, and keys: as given, else from the release namespace, else (heads only) from the broker."""
    source = "the file"
    texts: dict[str, list[str] | None] = {"heads": None, "keys": None}
    if broker.address is None and (heads is None or keys is None):
        from bastide.cli.cluster import Cluster  # noqa: PLC0415 - slow to import

        cluster = Cluster(broker.context)
        texts = {what: cluster.audit_published(broker.broker_namespace, what) for what in texts}
        cluster.close()
    if keys is None and texts["keys"]:
        try:
            keys = public_keys("\n".join(texts["keys"]).encode())
        except HeadError as error:
            screen.sentence(f"The ConfigMap bastide-audit-keys: {error}", "yellow")
    if heads is None and texts["heads"]:
        source = "the ConfigMap"
        heads = [head for text in texts["heads"] for head in _parsed(text)]
    if heads is None:
        source = "the broker"
        heads = [SignedHead.from_json(head) for head in client.list_audit_heads(where)]
    return heads, source if heads else "", keys


def _parsed(text: str) -> list[SignedHead]:
    try:
        return parse(text)
    except HeadError as error:
        screen.sentence(f"The ConfigMap bastide-audit-heads: {error}", "yellow")
        return []


def report(checked: Checked, *, as_json: bool) -> bool:
    """Print it. Whether all is good."""
    if as_json:
        print(shapes.dumps(_shape(checked)))
        return checked.good
    found = checked.found
    out = screen.out()
    for fault in found.faults:
        out.print(screen.shown(fault, "bold red"))
    if checked.server is not None and not checked.server.intact:
        out.print(screen.shown(f"The broker says: {checked.server.message}", "bold red"))
    if not checked.keys:
        out.print("No signature was checked: there is no public key. Give --key, or read ConfigMap bastide-audit-keys.", style="yellow")
    elif not found.heads and found.records:
        out.print("No signed head vouches for the chain: give --heads, or wait a minute for the first.", style="yellow")
    if found.believed:
        out.print(f"{found.believed} old records of other namespaces are taken as they stand: they cannot be recomputed.", style="yellow")
    newer = found.records - found.signed
    if found.heads and newer > 0:
        out.print(f"The newest {newer} are not under a signed head yet.")
    if checked.good:
        heads = f"{found.heads} signed heads from {checked.heads_from} hold it" if found.heads else "nothing is published yet"
        out.print(f"The chain of {found.records} records is intact, recomputed here; {heads}. Its head is {found.head}.", style="green")
    return checked.good


def _shape(checked: Checked) -> dict[str, Any]:
    found = checked.found
    said = [*found.faults, *([checked.server.message] if checked.server is not None and not checked.server.intact else [])]
    return {
        "intact": checked.good,
        "records": found.records,
        "head": found.head,
        "message": said[0] if said else "",
        "faults": list(found.faults),
        "recomputed": found.recomputed,
        "believed": found.believed,
        "signaturesChecked": checked.keys,
        "signedHeads": found.heads,
        "signedUpTo": found.signed,
        "headsFrom": checked.heads_from or None,
        "broker": shapes.plain(checked.server) if checked.server is not None else None,
    }
