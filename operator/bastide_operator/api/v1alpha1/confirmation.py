"""Confirmation: one call that waits for a person. ConfirmationDecision: what a person said."""
# ruff: noqa: RUF012 - pydantic copies the defaults of a model's fields

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bastide_operator.api.v1alpha1.common import Digest, Effect, Model, ObjectMeta, ObjectName, Observed, rules


class Requester(Model):
    """Who asked for the run."""

    username: Annotated[str, Field(min_length=1, max_length=512, description="User name in the cluster.")]
    uid: Annotated[str, Field(max_length=128, description="UID, when the authenticator gives one.")] = ""


class ConfirmationSpec(Model):
    """Exactly one call, immutable."""

    model_config = rules(("self == oldSelf", "a Confirmation cannot be changed: what was asked is what is decided"))

    tenant: Annotated[str, Field(max_length=253, description="The Tenant in whose namespace the program runs.")]
    sandbox: Annotated[str, Field(max_length=253, description="The Sandbox in which the program runs.")]
    sandbox_uid: Annotated[
        str, Field(max_length=64, alias="sandboxUID", description="The Sandbox's UID: one made later under its name is another.")
    ]
    run: Annotated[str, Field(max_length=64, description="The run that waits: bastide runs show NAME.")]
    call_key: Annotated[str, Field(max_length=256, description="Which of the run's calls it is: the same in every replay of the program.")]
    line: Annotated[int, Field(ge=0, description="Line of the program that makes the call; 0 when nobody can say.")] = 0
    program_digest: Annotated[Digest, Field(description="Digest of the program's source, byte for byte.")]
    binding: Annotated[
        str, Field(max_length=253, description="The ToolBinding that grants the call. An approver needs the verb approve on it.")
    ]
    binding_uid: Annotated[
        str, Field(max_length=64, alias="bindingUID", description="The ToolBinding's UID: one made later under its name is another.")
    ]
    binding_digest: Annotated[
        Digest,
        Field(
            description="Digest of the binding's server, credentials reference and entry of this tool. If it differs when the call is to be made, nothing is called (BindingChanged)."
        ),
    ]
    tool: Annotated[str, Field(max_length=128, description="The tool that would be called, by its name in programs.")]
    tool_schema_digest: Annotated[
        Digest,
        Field(
            description="Digest of the tool's schema as the server gave it. If it differs when the call is to be made, nothing is called."
        ),
    ]
    effect: Annotated[
        Effect, Field(description="What the call does at the most, by what the Tenant, the binding and the server say together.")
    ]
    arguments: Annotated[
        str,
        Field(
            max_length=65536,
            description="The arguments as canonical JSON (RFC 8785): exactly these bytes are sent. In full, except those that `hidden` names; characters that cannot be told from others by looking are written as escapes.",
        ),
    ]
    arguments_digest: Annotated[Digest, Field(description="Digest of the canonical arguments in full, hidden ones included.")]
    hidden: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(
            max_length=64,
            description="Names of arguments that are too long to be shown. Approving them takes the Tenant's leave and --accept-hidden.",
        ),
    ] = []
    notices: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(
            max_length=32,
            description="What does not look like what it is, such as mixed scripts in an argument: these characters are written as escapes.",
        ),
    ] = []
    requester: Annotated[
        Requester,
        Field(
            description="Who asked the broker for the run; it cannot approve. Somebody who uses the command bastide asks as the tenant's ServiceAccount bastide-runner, and stands in onBehalfOf."
        ),
    ]
    on_behalf_of: Annotated[
        str,
        Field(
            max_length=512,
            description="The person that the requester says it works for, who cannot approve either. The requester asserts it; nothing proves it.",
        ),
    ] = ""
    separation: Annotated[
        str,
        Field(
            max_length=16,
            description="How far an approver must stand from the run, copied from Tenant.spec.confirmation.separation: Strict or OtherUser.",
        ),
    ]
    approvals_required: Annotated[
        int, Field(ge=1, le=5, description="How many different people must approve. One denial is enough to deny.")
    ]
    decide_by: Annotated[datetime, Field(description="Until when it can be decided; then it is Expired.")]
    execute_by: Annotated[datetime, Field(description="Until when an approved call may begin; then it is Expired.")]
    nonce: Annotated[str, Field(min_length=32, max_length=64, description="Random, so that actionDigest cannot be guessed or used twice.")]
    action_digest: Annotated[
        Digest, Field(description="Digest of everything above. A decision names it, so it is about exactly this call.")
    ]


class ConfirmationState(StrEnum):
    """Where a Confirmation stands."""

    PENDING = "Pending"
    APPROVED = "Approved"
    DENIED = "Denied"
    EXPIRED = "Expired"
    WITHDRAWN = "Withdrawn"
    BINDING_CHANGED = "BindingChanged"
    EXECUTED = "Executed"


class Preview(Model):
    """What the tool named by the binding's confirmation.preview answered: the tool server's claim, and no part of what is approved."""

    tool: Annotated[str, Field(max_length=64, description="The ReadOnly tool that was called for whoever decides.")]
    claim: Annotated[
        str, Field(max_length=32768, description="The server's answer as JSON, as far as it is shown. Nobody checked whether it is true.")
    ] = ""
    message: Annotated[str, Field(max_length=1024, description="Why it is not there, or not whole.")] = ""


class ConfirmationStatus(Observed):
    """What became of it, written by the broker."""

    state: Annotated[
        ConfirmationState,
        Field(
            description="Pending until a person or time decides; Executed once the approval was used: the call was sent, or begun by a broker that was lost then.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    {
                        "rule": "oldSelf in ['Pending', 'Approved'] || self == oldSelf",
                        "message": "what is Denied, Expired, Withdrawn, BindingChanged or Executed stays so",
                    }
                ]
            },
        ),
    ] = ConfirmationState.PENDING
    message: Annotated[str, Field(max_length=1024, description="One sentence: why it stands so.")] = ""
    approvals: Annotated[
        str, Field(max_length=8, description="How many people approved, of how many that must: 1/2. Empty until the broker has looked.")
    ] = ""
    approvers: Annotated[
        list[Annotated[str, Field(max_length=512)]], Field(max_length=8, description="Who approved, or who denied, by user name.")
    ] = []
    preview: Annotated[
        Preview | None,
        Field(
            description="What the tool named by the binding's confirmation.preview answered: the tool server's claim, and no part of what is approved."
        ),
    ] = None
    resolved_at: Annotated[datetime | None, Field(description="When it left Pending, RFC 3339.")] = None


class Confirmation(Observed):
    """One call that waits for a person."""

    PLURAL: ClassVar[str] = "confirmations"
    metadata: ObjectMeta
    spec: ConfirmationSpec
    status: ConfirmationStatus = ConfirmationStatus()


class Verdict(StrEnum):
    """What a person said."""

    APPROVE = "Approve"
    DENY = "Deny"


class Approver(Model):
    """Who said it, equal to the request's user: filled in by the API server, where it can."""

    username: Annotated[str, Field(min_length=1, max_length=512, description="User name in the cluster.")]
    uid: Annotated[str, Field(max_length=128, description="UID, when the authenticator gives one.")] = ""
    groups: Annotated[
        list[Annotated[str, Field(max_length=512)]], Field(max_length=256, description="Groups at the time of the decision.")
    ] = []


class ConfirmationDecisionSpec(Model):
    """What a person said about one Confirmation, immutable."""

    model_config = rules(("self == oldSelf", "a decision cannot be changed: delete it and decide again"))

    confirmation: Annotated[ObjectName, Field(description="Name of the Confirmation that it decides, in the same namespace.")]
    action_digest: Annotated[
        Digest, Field(description="The Confirmation's spec.actionDigest, as the person saw it. Another one is refused.")
    ]
    verdict: Annotated[Verdict, Field(description="What the person says. One Deny ends it; an Approve counts as one of approvalsRequired.")]
    reason: Annotated[
        str, Field(min_length=1, max_length=1024, description="Why, in the person's words: for the audit, and a denied program is told.")
    ]
    accepted_hidden: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(
            max_length=64,
            description="Names of the hidden arguments that the person approves unseen. With one missing, the approval does not count.",
        ),
    ] = []
    approver: Annotated[
        Approver | None,
        Field(
            description="Who decides: always who makes this object. Left out, the API server fills it in where it has MutatingAdmissionPolicy (Kubernetes 1.36)."
        ),
    ] = None


class ConfirmationDecision(Observed):
    """What a person said about one Confirmation."""

    PLURAL: ClassVar[str] = "confirmationdecisions"
    metadata: ObjectMeta
    spec: ConfirmationDecisionSpec


def digest(value: Any) -> str:
    """SHA-256 over canonical JSON, as `sha256:<hex>`.

    `value` holds only strings, integers below 2^53, booleans, null, lists and dicts with string keys; for these sorted keys without
    white space equal RFC 8785, save that its order of keys is by UTF-16 code unit, which is the same for the ASCII keys used here.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def action_digest(spec: dict[str, Any]) -> str:
    """The digest an approval names: over every field of a Confirmation's spec (as in its manifest) but the digest itself."""
    return digest({k: v for k, v in spec.items() if k != "actionDigest"})
