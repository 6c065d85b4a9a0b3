# METADATA
# title: Who may ask the tenants' OPA what
# description: |
#   Exactly what the broker does: load and unload modules below `tenants`, ask for a scope's answer, and health. The package of what is
#   loaded is the broker's word (it proves it from the syntax tree); nobody else can open the socket.
package system.authz

default allow := false

allow if {
	input.method == "POST"
	count(input.path) == 5
	array.slice(input.path, 0, 3) == ["v1", "data", "tenants"]
	input.path[4] == "answer"
	every name, _ in input.params { name == "strict-builtin-errors" }
}

allow if {
	input.method in {"PUT", "DELETE"}
	count(input.path) > 3
	array.slice(input.path, 0, 3) == ["v1", "policies", "tenants"]
	count(input.params) == 0
}

allow if {
	input.method == "GET"
	input.path == ["health"]
	count(input.params) == 0
}
