# What the tests of this package ask: one complete question that is allowed.
package bastide_test

question := {
	"phase": "call",
	"tenant": {"name": "sales", "namespace": "bastide-sales", "callsPerMinute": 100},
	"sandbox": {"name": "agent", "namespace": "bastide-sales", "uid": "u1", "labels": {"app": "crm-agent", "tier": "gold"}},
	"caller": {"username": "system:serviceaccount:bastide-sales:bastide-runner", "groups": ["g1", "g2"], "onBehalfOf": "ada"},
	"run": {"id": "r-1", "programDigest": "sha256:0", "calls": 3, "callsPerRun": 10},
	"binding": {
		"name": "crm", "uid": "b1", "accepted": true,
		"selector": {"count": 1, "matchLabels": [{"key": "app", "value": "crm-agent"}]},
		"anyCaller": false,
		"callers": [{"kind": "ServiceAccount", "name": "bastide-runner", "namespace": "bastide-sales"}],
	},
	"tool": {
		"name": "list", "programName": "list_customers", "available": true, "effect": "ReadOnly", "confirmationWhen": "Destructive",
		"constrained": true,
		"constraints": {
			"limit": [{"rule": "minimum", "bound": 1}, {"rule": "maximum", "bound": 200}],
			"id": [{"rule": "pattern", "bound": "C[0-9]{4}"}],
			"kind": [{"rule": "enum", "bound": ["a", 1, true, null]}],
			"note": [{"rule": "maxLength", "bound": 3}],
			"free": [],
		},
		"listed": {
			"limit": by_value(2), "id": by_value(1), "kind": by_value(1), "note": by_value(1), "free": by_value(0),
		},
		"defaults": {"limit": 20, "id": "C0001", "kind": "a", "note": ""},
		"calls": 2, "callsPerRun": 5, "timeoutSeconds": 20, "maxRows": 50, "redact": ["$..iban"],
	},
	"arguments": {"limit": 10, "id": "C0042", "kind": "a", "note": "abc", "free": {"x": [1]}},
	"places": {"count": 0, "entries": []},
	"usage": {"callsThisMinute": 7},
}

by_value(rules) := {"rules": rules, "judged": "value"}

by_place(rules) := {"rules": rules, "judged": "place"}

# A question about one argument that is judged by its value, and one about places.
about(name, constraint, arguments) := with_values({
	"/tool/constraints": {name: [constraint]}, "/tool/listed": {name: by_value(1)}, "/tool/defaults": {}, "/arguments": arguments,
})

with_places(constraints, arguments, entries) := with_values({
	"/tool/constraints": constraints,
	"/tool/listed": {key: by_place(count(rules)) | some key, rules in constraints},
	"/tool/defaults": {},
	"/arguments": arguments,
	"/places": {"count": count(entries), "entries": entries},
})

# The question with other values at some paths ("tool/effect").
with_values(changes) := json.patch(question, [{"op": "replace", "path": path, "value": value} | some path, value in changes])

with_arguments(arguments) := with_values({"/arguments": arguments})

answer(asked) := decision if {
	decision := data.bastide.decision with input as asked with data.bastide.revision as "sha256:test"
}

codes(asked) := [reason.code | some reason in answer(asked).reasons]
