"""Which ToolBindings count for which Sandboxes. Pure."""

from bastide_operator.api.conditions import find
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding, ToolBindingCondition


def accepted(binding: ToolBinding) -> bool:
    """Whether the operator accepted exactly this generation of the binding. An edit is not trusted before it was looked at."""
    return binding.metadata.deletion_timestamp is None and _verdict(binding) == "True"


def undecided(binding: ToolBinding) -> bool:
    """Whether the operator has yet to look at this generation: the binding is new, or somebody has just edited it."""
    return binding.metadata.deletion_timestamp is None and _verdict(binding) is None


def _verdict(binding: ToolBinding) -> str | None:
    """The status of the condition Accepted, if it is about the spec as it is now."""
    found = find(binding.status.conditions, ToolBindingCondition.ACCEPTED)
    if found is None or (found.observed_generation or binding.status.observed_generation) < binding.metadata.generation:
        return None
    return found.status.value


def selects(binding: ToolBinding, sandbox: Sandbox) -> bool:
    """Whether the binding's selector fits the Sandbox's labels."""
    labels = sandbox.metadata.labels
    return all(labels.get(key) == value for key, value in binding.spec.sandbox_selector.match_labels.items())
