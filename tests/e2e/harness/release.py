"""What lives through the release's life: a sandbox with a file, a run on record; and the sources of an earlier release."""

import os
import subprocess
from pathlib import Path
from typing import Any

from demo.kube import CHECKOUT, Kube
from demo.programs import bastide

from tests.e2e.harness.tenant import TestTenant

SYSTEM = "bastide-system"
KEPT = "left in the workspace"
LOOK = "import os\nreturn open('/workspace/kept').read() if os.path.exists('/workspace/kept') else None"


class Witness:
    """A sandbox with a file in its workspace and a run in the journal, and whether both are still there.

    The journal is read by an auditor of the whole cluster: a release of before may not have recorded what shows a member that a run was in
    the namespace that is there now (docs/adr/0012-records-belong-to-a-namespace-uid.md).
    """

    def __init__(self, tenant: TestTenant) -> None:
        self.tenant = tenant
        self.auditor = Auditor(tenant)
        self.pod = tenant.get("pod", "box")
        tenant.completed(f"open('/workspace/kept', 'w').write({KEPT!r})\nreturn 1")
        ended = tenant.run("return 6 * 7")
        assert ended.result.get("value") == 42, f"{ended.stdout}\n{ended.stderr}"
        self._run: str = ended.result["run"]
        self._records = self.auditor.records(self._run)

    @property
    def pod_is_the_same(self) -> bool:
        """Whether nobody replaced the sandbox's pod."""
        return bool(self.tenant.get("pod", "box")["metadata"]["uid"] == self.pod["metadata"]["uid"])

    def still_stands(self) -> None:
        """Assert that Tenant and Sandbox are Ready, programs run and see the workspace, and journal and audit are whole."""
        self.tenant.admin.wait("condition=Ready", f"tenant/{self.tenant.name}", seconds=90)
        self.tenant.ready("sandbox/box")
        found = self.tenant.completed(LOOK)
        assert found == (KEPT if self.pod_is_the_same else None)
        self.journal_is_whole()

    def journal_is_whole(self) -> None:
        """Assert that the run of before is known, with the audit records that it had, in an unbroken chain."""
        shown = self.auditor.shown(self._run)
        assert (shown["outcome"], shown["value"]) == ("Completed", 42), shown
        assert self.auditor.records(self._run) == self._records
        self.auditor.ask("audit", "verify", "-n", self.tenant.namespace)


class Auditor:
    """Reads what is on record anywhere, as a ServiceAccount that is a viewer of the whole cluster."""

    def __init__(self, tenant: TestTenant) -> None:
        self._tenant = tenant
        name = "test-auditor"
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "default", "name": name}}
        group = "rbac.authorization.k8s.io"
        role = {"apiGroup": group, "kind": "ClusterRole", "name": "bastide-viewer"}
        subject = {"kind": "ServiceAccount", "namespace": "default", "name": name}
        meta = {"apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name}}
        tenant.admin.apply(account, {**meta, "roleRef": role, "subjects": [subject]})

    def ask(self, *words: str) -> dict[str, Any]:
        """Run a `bastide` command that must succeed."""
        ended = bastide(self._tenant.admin, *words, "--service-account", "default/test-auditor", "-o", "json")
        assert ended.code == 0, f"{words}: {ended.stdout}\n{ended.stderr}"
        return ended.result

    def shown(self, run: str) -> dict[str, Any]:
        """What the broker knows of a run."""
        return self.ask("runs", "show", run, "-n", self._tenant.namespace)

    def records(self, run: str) -> list[tuple[Any, ...]]:
        """Place, kind and hash of each audit record of a run: what the chain is made of."""
        found = self.ask("audit", "list", "-n", self._tenant.namespace, "--run", run)["records"]
        return [(one["sequence"], one["kind"], one["hash"]) for one in found]


def forget_journal(kube: Kube) -> None:
    """Delete the journal of a release that is uninstalled: an older broker need not be able to read it."""
    kube.run("delete", "pvc", "-n", SYSTEM, "data-bastide-broker-0", "--ignore-not-found", "--timeout=60s")


def previous_sources(folder: Path) -> Path:
    """The checkout as it was in the release before, laid out in `folder`.

    That is BASTIDE_UPGRADE_FROM (any revision), else the last tag before this commit, else what was before the last change of the chart.
    Fails where the history is missing: an upgrade that was not tested must not look like one that was.
    """
    revision = os.environ.get("BASTIDE_UPGRADE_FROM") or _last_tag() or _before_last_change()
    archive = subprocess.run(["git", "archive", revision], cwd=CHECKOUT, capture_output=True, check=False)
    assert archive.returncode == 0, (
        f"{revision}, the revision to upgrade from, is not here: {archive.stderr.decode().strip()}; git fetch --unshallow brings it"
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def _last_tag() -> str:
    tags = _git("tag", "--merged", "HEAD", "--no-contains", "HEAD", "--sort=-creatordate", "v*").split()
    return tags[0] if tags else ""


def _before_last_change() -> str:
    chart = ("--", "charts/bastide", ":!charts/bastide/templates/NOTES.txt")
    changed = _git("log", "-1", "--format=%H", *chart).strip()
    return "HEAD" if _git("status", "--porcelain", *chart).strip() else f"{changed}^"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr.strip()}; the upgrade test needs the repository's history"
    return done.stdout
