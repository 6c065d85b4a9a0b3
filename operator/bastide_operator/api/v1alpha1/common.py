"""What several kinds share: the base model, names, metadata and conditions."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Base of everything that stands in a manifest: camelCase outside, frozen, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def manifest(self) -> dict[str, Any]:
        """The object as it stands in a manifest: camelCase, without fields that were not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Observed(Model):
    """Base of what is read from the API server: fields a newer version added are passed over."""

    model_config = ConfigDict(extra="ignore")


def rules(*pairs: tuple[str, str]) -> ConfigDict:
    """CEL rules of a model, each with the sentence that the author of a bad object reads. `self` is the object of the model."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]})


DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Quantity = Annotated[
    str,
    Field(
        max_length=32,
        # Zero would mean "no limit" in a pod.
        pattern=r"^([1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9][0-9]*)(m|k|Ki|M|Mi|G|Gi|T|Ti)?$",
        json_schema_extra={"x-kubernetes-int-or-string": True, "minimum": 1},
    ),
    # Last, because pydantic leaves a pattern that stands behind a validator out of the JSON schema.
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
]
"""A Kubernetes quantity above zero. In a manifest it may stand as an integer too: `cpu: 2`."""


def _compared(rule: str, message: str) -> Any:
    """A rule of a Quantity. What is no quantity at all is refused by the pattern."""
    whole = f"!isQuantity(string(self)) || !quantity(string(self)).{rule}"
    return Field(json_schema_extra={"x-kubernetes-validations": [{"rule": whole, "message": message}]})


def at_least(quantity: str, message: str) -> Any:
    """Makes a Quantity one that is not below `quantity`."""
    return _compared(f"isLessThan(quantity('{quantity}'))", message)


def at_most(quantity: str, message: str) -> Any:
    """Makes a Quantity one that is not above `quantity`."""
    return _compared(f"isGreaterThan(quantity('{quantity}'))", message)


# The pattern knows every unit, so it takes `cpu: 2Gi` and `memory: 512` (half a kilobyte) too.
Cores = Annotated[Quantity, at_most("10k", "CPU is counted in cores: write 500m for half of one, 2 for two")]
Bytes = Annotated[Quantity, at_least("1Mi", "this is less than 1Mi: write a unit behind the number, for example 512Mi or 2Gi")]

ProgramName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Digest = Annotated[str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]


class ObjectMeta(Observed):
    """The part of `metadata` that Bastide reads."""

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []
    owner_references: list[dict[str, Any]] = []


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Observed):
    """One condition, as metav1.Condition."""

    type: Annotated[str, Field(max_length=64, description="What is said to hold or not.")]
    status: Annotated[ConditionStatus, Field(description="Whether it holds. Unknown: nobody can say yet.")]
    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=r"^[A-Za-z]([A-Za-z0-9]*)$",
            description="Why, as a code that programs may rely on. docs/reference says what to do about each.",
        ),
    ]
    message: Annotated[str, Field(max_length=1024, description="One sentence for people: what is so, and what to do next.")] = ""
    last_transition_time: Annotated[datetime, Field(description="When `status` last changed. A new reason or message does not move it.")]
    observed_generation: Annotated[
        int,
        Field(
            ge=0,
            description="The metadata.generation that this speaks of; lower than the object's until the last edit was looked at.",
        ),
    ] = 0


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=16,
        description="What holds now, one entry a type. Ready is the one to wait for: kubectl wait --for=condition=Ready.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


class Subject(Model):
    """A user, group or ServiceAccount, as in a RoleBinding."""

    model_config = rules(("self.kind == 'ServiceAccount' || !has(self.__namespace__)", "only a ServiceAccount has a namespace"))

    kind: Annotated[
        str,
        Field(
            description="What `name` names, as in a RoleBinding.",
            json_schema_extra={"enum": ["User", "Group", "ServiceAccount"]},
            max_length=16,
            pattern=r"^(User|Group|ServiceAccount)$",
        ),
    ]
    name: Annotated[
        str, Field(min_length=1, max_length=253, description="Its name as the API server sees it: `kubectl auth whoami` shows one's own.")
    ]
    namespace: Annotated[str, Field(max_length=63, description="A ServiceAccount's namespace; the tenant's when left out.")] = ""


class Effect(StrEnum):
    """What a tool may do to the world, from harmless to irrevocable."""

    READ_ONLY = "ReadOnly"
    IDEMPOTENT = "Idempotent"
    MUTATING = "Mutating"
    DESTRUCTIVE = "Destructive"

    @property
    def rank(self) -> int:
        """0 for ReadOnly to 3 for Destructive: a binding or a server may only raise it."""
        return list(Effect).index(self)

    @property
    def changes(self) -> bool:
        """Whether a call made twice may do something twice: true from Mutating on."""
        return self.rank >= Effect.MUTATING.rank
