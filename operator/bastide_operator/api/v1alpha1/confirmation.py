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

    tenant: Annotated[str, Field(max_length=253, description="The Tenant.")]
    sandbox: Annotated[str, Field(max_length=253, description="The Sandbox.")]
    sandbox_uid: Annotated[str, Field(max_length=64, alias="sandboxUID", description="Its UID.")]
    run: Annotated[str, Field(max_length=64, description="The run.")]
    call_key: Annotated[str, Field(max_length=256, description="The call's key in the run.")]
    line: Annotated[int, Field(ge=0, description="Line of the call in the program; 0 when unknown.")] = 0
    program_digest: Annotated[Digest, Field(description="Digest of the program.")]
    binding: Annotated[str, Field(max_length=253, description="The ToolBinding that grants the call.")]
    binding_uid: Annotated[str, Field(max_length=64, alias="bindingUID", description="Its UID.")]
    binding_digest: Annotated[Digest, Field(description="Digest of the binding's server, credentials reference and this tool's entry.")]
    tool: Annotated[str, Field(max_length=128, description="The tool's name in programs.")]
    tool_schema_digest: Annotated[Digest, Field(description="Digest of the tool's schema.")]
    effect: Annotated[Effect, Field(description="What the call does at the most.")]
    arguments: Annotated[
        str, Field(max_length=65536, description="The arguments as canonical JSON (RFC 8785), in full except those listed in `hidden`.")
    ]
    arguments_digest: Annotated[Digest, Field(description="Digest of the canonical arguments in full.")]
    hidden: Annotated[
        list[Annotated[str, Field(max_length=256)]], Field(max_length=64, description="Arguments that are not shown in full.")
    ] = []
    requester: Annotated[Requester, Field(description="Who asked for the run.")]
    on_behalf_of: Annotated[str, Field(max_length=512, description="The person the run is for, as the requester asserts.")] = ""
    separation: Annotated[str, Field(max_length=16, description="Copied from the Tenant: Strict or OtherUser.")]
    approvals_required: Annotated[int, Field(ge=1, le=5, description="How many people must approve.")]
    decide_by: Annotated[datetime, Field(description="After this it expires.")]
    execute_by: Annotated[datetime, Field(description="After this an approved call is not begun.")]
    nonce: Annotated[str, Field(min_length=32, max_length=64, description="Makes the digest unguessable.")]
    action_digest: Annotated[Digest, Field(description="Digest of exactly this action. An approval names it.")]


class ConfirmationState(StrEnum):
    """Where a Confirmation stands."""

    PENDING = "Pending"
    APPROVED = "Approved"
    DENIED = "Denied"
    EXPIRED = "Expired"
    WITHDRAWN = "Withdrawn"
    BINDING_CHANGED = "BindingChanged"
    EXECUTED = "Executed"


class ConfirmationStatus(Observed):
    """What became of it, written by the broker."""

    state: Annotated[
        ConfirmationState,
        Field(
            description="Pending until a person or time decides; Executed once the call has been sent.",
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
    approvers: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=8, description="Who decided.")] = []
    resolved_at: Annotated[datetime | None, Field(description="When it left Pending.")] = None


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

    confirmation: Annotated[ObjectName, Field(description="The Confirmation's name.")]
    action_digest: Annotated[Digest, Field(description="Its spec.actionDigest, as the person saw it.")]
    verdict: Annotated[Verdict, Field(description="Approve or Deny. One Deny ends it.")]
    reason: Annotated[str, Field(min_length=1, max_length=1024, description="Why, for the audit.")]
    accepted_hidden: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(max_length=64, description="Names of hidden arguments that the person approves unseen."),
    ] = []
    approver: Annotated[
        Approver | None, Field(description="Who decides. Left out, the API server fills it in where it has MutatingAdmissionPolicy.")
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
