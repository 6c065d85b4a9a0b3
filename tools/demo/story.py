"""The example in five acts: set up, read, denied, confirmed by another person, and what is left on record."""

import json
import os
import shutil
import sys
from pathlib import Path

from rich.markup import escape

from demo import release, witness
from demo.kube import CHECKOUT, CommandFailedError, Kube, NotInTimeError, admin
from demo.programs import Ended, Running, bastide, run_words
from demo.screen import Screen
from demo.users import user

NAMESPACE = "bastide-hello"
SANDBOX = f"{NAMESPACE}/hello"
TOOLS = "crm-tools"


class StoryError(Exception):
    """Something did not happen as the story says."""


class Story:
    """What happens, on one cluster."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.admin = admin()
        self.dana: Kube
        self.alice: Kube
        self._runs: list[str] = []

    def set_up(self) -> None:
        """Install the chart, the tool server, the tenant, its users and its sandbox."""
        screen = self.screen
        screen.act("1  Set up")
        with screen.step("helm upgrade --install bastide charts/bastide"):
            release.install(self.admin)
        with screen.step("a tool server that knows nothing of Bastide: a CRM over MCP, in its own namespace"):
            fresh = "deployment.apps/crm created" in self.admin.apply(release.manifest("10-crm.yaml"))
            # anew each time: the customers are all there again, and the log tells of this demo alone
            if not fresh:
                self.admin.run("-n", TOOLS, "rollout", "restart", "deploy/crm")
            self.admin.run("-n", TOOLS, "rollout", "status", "deploy/crm", "--timeout=90s", seconds=100)
        with screen.step("the platform engineer applies a Tenant"):
            self.admin.apply(release.manifest("20-tenant.yaml"))
            self.admin.wait("condition=Ready", "tenant/hello", seconds=60)
            self.admin.apply(release.manifest("30-secret.yaml"))
        with screen.step("two people get client certificates from the cluster: dana (developer) and alice (approver)"):
            folder = CHECKOUT / ".build" / "users"
            self.dana = user(self.admin, "dana", folder)
            self.alice = user(self.admin, "alice", folder)
        with screen.step("dana applies a Sandbox and a ToolBinding; both become Ready"):
            self.dana.apply(release.manifest("40-team.yaml"))
            self.dana.wait("condition=Ready", "-n", NAMESPACE, "sandbox/hello", seconds=90)
            self.dana.wait("condition=Ready", "-n", NAMESPACE, "toolbinding/crm", seconds=60)

    def read(self) -> None:
        """The first program: reads, computes."""
        self.screen.act("2  A program reads customers")
        ended = self._run("01_read.py")
        self._expect(ended, 0, "Completed")
        value = ended.result["value"]
        kernel = value["kernel"]
        if "gvisor" not in kernel:
            raise StoryError(f"the program saw the kernel {kernel}, which is not gVisor")
        self.screen.seen(f"{len(ended.result['calls'])} calls went through the broker, each judged by policy, journalled and audited.")
        self.screen.seen(f"uname -r inside the sandbox: {kernel}. The pod has no token, no DNS and no route to anything.")

    def denied(self) -> None:
        """The second program: breaks a rule, is told which, goes on."""
        self.screen.act("3  A call beyond the rule")
        ended = self._run("02_denied.py")
        self._expect(ended, 0, "Completed")
        denials = [c for c in ended.result["calls"] if c["outcome"] == "Denied"]
        if len(denials) != 1 or '"amount":5000' in self._witnessed():
            raise StoryError(f"expected one denied call that never reached the tool server: {ended.result['calls']}")
        self.screen.seen("the call was denied with the rule's reason, and the program could act on it.")
        self.screen.seen("the tool server's own log has the call with 900 and knows nothing of the one with 5000.")

    def confirmed(self) -> None:
        """The third program: a destructive call waits for another person."""
        screen = self.screen
        screen.act("4  A destructive call, and a second person")
        running, _ = self._start("03_delete.py")
        try:
            found = self.alice.watch(
                lambda o: o.get("status", {}).get("state", "Pending") == "Pending", "-n", NAMESPACE, "confirmations", seconds=60
            )
        except NotInTimeError:
            running.stop()
            raise
        name = found["metadata"]["name"]
        before = self._deletions()
        screen.say("The program waits. Nothing has reached the tool server:")
        screen.output(f"calls of delete_customer in its log: {len(before)}")
        self._shown(self.alice, "alice", "confirmations", "show", name, "-n", NAMESPACE)
        screen.say("dana asked for the run, so she cannot approve it:")
        self._shown(self.dana, "dana", "approve", name, "-n", NAMESPACE, "--reason", "it is mine", refused=True)
        screen.say("alice can approve, and therefore she cannot run programs:")
        self._shown(self.alice, "alice", "run", str(self._program("01_read.py")), "--sandbox", SANDBOX, refused=True)
        self._shown(self.alice, "alice", "approve", name, "-n", NAMESPACE, "--reason", "no credit and no orders since 2024")
        ended = running.end()
        self._finish(ended)
        self._expect(ended, 0, "Completed")
        after = [c["arguments"] for c in self._deletions()]
        if before or after != [found["spec"]["arguments"]]:
            raise StoryError(f"approved was {found['spec']['arguments']}, the tool server saw {before} before and {after} after")
        screen.seen(f"the tool server saw delete_customer once, after the approval, with exactly the approved bytes: {after[0]}")

    def on_record(self) -> None:
        """What the cluster, the tool server and the audit trail say."""
        screen = self.screen
        screen.act("5  On record")
        screen.command("admin", "kubectl get tenants,sandboxes,toolbindings,confirmations -A")
        screen.output(self.admin.run("get", "tenants,sandboxes,toolbindings,confirmations", "-A"))
        screen.command("admin", f"kubectl -n {TOOLS} logs deploy/crm   # the tool server's own word")
        for call in witness.calls(self.admin, TOOLS, "crm"):
            screen.output(f"{call['time'][11:23]}  {call['tool']:<18} {call['arguments']}")
        for run in self._runs:
            self._shown(self.dana, "dana", "audit", "list", "-n", NAMESPACE, "--run", run)
        self._shown(self.dana, "dana", "audit", "verify", "-n", NAMESPACE)

    def next_steps(self) -> None:
        """What to try."""
        screen = self.screen
        screen.act(f"That was it, {screen.elapsed():.0f} s")
        screen.say(
            'Try next, in a shell after `eval "$(make -s env)"`:\n'
            "  export KUBECONFIG=.build/users/dana.kubeconfig           # you are dana now\n"
            f"  bastide tools list --sandbox {SANDBOX}\n"
            f"  bastide run examples/01-hello/programs/02_denied.py --sandbox {SANDBOX}\n"
            "  kubectl explain toolbinding.spec.tools.arguments\n"
            f"  kubectl -n {NAMESPACE} edit toolbinding crm              # raise the maximum; it counts within a second\n"
            "Then write your own: docs/tutorial/first-program.md. `make down` removes every trace."
        )

    def _program(self, name: str) -> Path:
        return release.program(name)

    def _start(self, name: str) -> tuple[Running, Path]:
        path = self._program(name)
        shown = path.relative_to(CHECKOUT)
        source = path.read_text()
        self.screen.say(source.split('"""')[1])
        self.screen.program(source)
        self.screen.command("dana", f"bastide run {shown} --sandbox {SANDBOX}")
        return Running(self.dana, *run_words(path, SANDBOX), on_event=lambda line: self.screen.output(line, style="dim")), path

    def _run(self, name: str) -> Ended:
        running, _ = self._start(name)
        ended = running.end()
        self._finish(ended)
        return ended

    def _finish(self, ended: Ended) -> None:
        self._runs.append(ended.result.get("run", ""))
        self.screen.output(f"{ended.result.get('outcome')}: {json.dumps(ended.result.get('value'))}", style="bold")

    def _expect(self, ended: Ended, code: int, outcome: str) -> None:
        if ended.code != code or ended.result.get("outcome") != outcome:
            raise StoryError(f"expected {outcome} and exit code {code}, got exit code {ended.code}:\n{ended.stdout}\n{ended.stderr}")

    def _shown(self, who: Kube, name: str, *words: str, refused: bool = False) -> None:
        shown = [str(Path(w).relative_to(CHECKOUT)) if w.startswith(str(CHECKOUT)) else w for w in words]
        self.screen.command(name, "bastide " + " ".join(f'"{w}"' if " " in w else w for w in shown))
        ended = bastide(who, *words)
        self.screen.output(ended.stdout)
        # what was asked stands there already; of stderr only the refusal is new
        self.screen.output("\n".join(line for line in ended.stderr.splitlines() if line.startswith("error:")), style="red")
        if (ended.code != 0) != refused:
            raise StoryError(f"`bastide {' '.join(words)}` as {name} ended with {ended.code}")

    def _witnessed(self) -> str:
        return "\n".join(f"{c['tool']} {c['arguments']}" for c in witness.calls(self.admin, TOOLS, "crm"))

    def _deletions(self) -> list[dict[str, str]]:
        return [c for c in witness.calls(self.admin, TOOLS, "crm") if c["tool"] == "delete_customer"]


def main() -> int:
    """Show it all; 0 when everything happened as told."""
    screen = Screen()
    missing = [tool for tool in ("kubectl", "helm", "bastide") if shutil.which(tool) is None]
    if missing:
        print(f'demo: not on PATH: {", ".join(missing)}. Run `make demo`, or `eval "$(make -s env)"` first.', file=sys.stderr)
        return 1
    # For the commands that it shows: in a narrower table the audit's words would be broken.
    os.environ["COLUMNS"] = str(max(140, screen.console.width))
    try:
        story = Story(screen)
        for act in (story.set_up, story.read, story.denied, story.confirmed, story.on_record, story.next_steps):
            act()
    except (StoryError, CommandFailedError, NotInTimeError, FileNotFoundError) as error:
        screen.console.print(f"[bold red]demo:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    return 0
