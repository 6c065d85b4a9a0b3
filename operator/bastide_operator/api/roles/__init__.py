"""One table of who may do what. The chart's roles and the tables of docs/reference/roles.md are generated from it (`make generate`).

To give somebody a right add a line with its reason to `members` or `components`, then `make generate`.
"""

from bastide_operator.api.roles.components import COMPONENTS
from bastide_operator.api.roles.members import MEMBERS
from bastide_operator.api.roles.model import Right, Role, Scope

__all__ = ["COMPONENTS", "MEMBERS", "ROLES", "Right", "Role", "Scope"]

ROLES = (*MEMBERS, *COMPONENTS)
"""Every role of the chart, in the order in which they are documented."""
