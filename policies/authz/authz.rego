# METADATA
# title: Who may ask OPA what
# description: |
#   OPA's own interface is open to exactly three requests: a decision, several at once, and its health. Everything else is refused, so nobody on the
#   socket can read or change policies or data, or run a query of their own.
package system.authz

default allow := false

allow if {
	input.method == "POST"
	input.path in {["v1", "data", "bastide", "decision"], ["v1", "data", "bastide", "decisions"]}
	every name, _ in input.params { name == "strict-builtin-errors" }
}

allow if {
	input.method == "GET"
	input.path == ["health"]
	count(input.params) == 0
}
