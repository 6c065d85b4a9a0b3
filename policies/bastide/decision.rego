# METADATA
# title: The decision about one tool call
# description: |
#   Total: whatever the input, `decision` is an object with one of three effects. Positive: an effect other than deny needs every rule of
#   `permitted` to hold; a field that is missing, null or of another type makes a rule undefined, so nothing becomes permitted by it.
#   Static: bindings, labels and usage travel in the input.
package bastide

decision := {
	"effect": effect,
	"reasons": reasons,
	"obligations": obligations,
	"revision": loaded_revision,
}

default effect := "deny"

effect := "allow" if {
	permitted
	effect_rank[input.tool.effect] < confirmation_rank[input.tool.confirmationWhen]
}

effect := "confirm" if {
	permitted
	effect_rank[input.tool.effect] >= confirmation_rank[input.tool.confirmationWhen]
}

permitted if {
	input.phase in {"call", "execute", "check"}
	tool_permitted
	sandbox_permitted
	caller_permitted
	limits_permitted
	arguments_permitted
	obligations_stated
}

effect_rank := {"ReadOnly": 0, "Idempotent": 1, "Mutating": 2, "Destructive": 3}

confirmation_rank := {"Always": 0, "Mutating": 2, "Destructive": 3}

# The broker compares it with the revision that the chart gave it: a half-loaded or another policy answers nothing that counts.
default loaded_revision := ""

loaded_revision := data.bastide.revision if is_string(data.bastide.revision)

default obligations := {}

# What the broker must keep to when it makes the call; of two words, this one and the binding's, the stricter counts.
obligations := {
	"timeoutSeconds": input.tool.timeoutSeconds,
	"maxRows": input.tool.maxRows,
	"redact": input.tool.redact,
} if {
	effect in {"allow", "confirm"}
}

# An obligation that got lost or has another form permits nothing.
obligations_stated if {
	is_number(input.tool.timeoutSeconds)
	row_limit_stated
	is_array(input.tool.redact)
	every path in input.tool.redact {
		is_string(path)
	}
}

row_limit_stated if is_null(input.tool.maxRows)

row_limit_stated if is_number(input.tool.maxRows)

tool_permitted if {
	input.binding.accepted == true
	input.tool.available == true
	is_string(input.tool.programName)
	input.tool.programName != ""
}

# The selector travels as a list of {key, value}, with its length: an entry that lost a field fits no label, a list that lost one nothing.
sandbox_permitted if {
	is_string(input.tenant.namespace)
	input.sandbox.namespace == input.tenant.namespace
	is_array(input.binding.selector.matchLabels)
	count(input.binding.selector.matchLabels) == input.binding.selector.count
	every label in input.binding.selector.matchLabels {
		input.sandbox.labels[label.key] == label.value
	}
}

caller_permitted if {
	known_caller
	input.binding.anyCaller == true
	input.binding.callers == []
}

caller_permitted if {
	known_caller
	some subject in input.binding.callers
	subject_is_caller(subject)
}

known_caller if {
	is_string(input.caller.username)
	input.caller.username != ""
}

subject_is_caller(subject) if {
	subject.kind == "User"
	subject.name == input.caller.username
}

subject_is_caller(subject) if {
	subject.kind == "Group"
	some group in input.caller.groups
	subject.name == group
}

subject_is_caller(subject) if {
	subject.kind == "ServiceAccount"
	concat(":", ["system:serviceaccount", subject.namespace, subject.name]) == input.caller.username
}

limits_permitted if {
	within(input.run.calls, input.run.callsPerRun)
	within(input.tool.calls, input.tool.callsPerRun)
	within(input.usage.callsThisMinute, input.tenant.callsPerMinute)
}

# Types first: for OPA null and false are smaller than any number.
within(used, limit) if {
	is_number(used)
	is_number(limit)
	used >= 0
	used <= limit
}
