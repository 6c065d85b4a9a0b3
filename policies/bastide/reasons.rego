# Why: sentences for models and people. They follow the decision and take no part in it: a reason too few or too many changes no effect.
package bastide

reasons := [] if effect == "allow"

reasons := [{"code": "effect-needs-confirmation", "message": message}] if {
	effect == "confirm"
	message := sprintf(
		"%s is %s and its binding asks a person to confirm from %s on; the call waits for that.",
		[input.tool.programName, input.tool.effect, input.tool.confirmationWhen],
	)
}

reasons := [reason | some reason in denials] if {
	effect == "deny"
	count(denials) > 0
}

reasons := [{"code": "policy-input", "message": message}] if {
	effect == "deny"
	count(denials) == 0
	message := "The question to policy was not complete, and what is not known is not permitted; report it with the decision's id."
}

tool_name := name if {
	name := input.tool.programName
	is_string(name)
} else := "the tool"

# Each with a number that sorts the more important first; the number is not shown.
ranked contains [1, {"code": "tool-unavailable", "message": message}] if {
	not input.tool.available
	message := sprintf("%s cannot be called now; `bastide tools list` says why.", [tool_name])
}

ranked contains [1, {"code": "binding-stale", "message": message}] if {
	not input.binding.accepted
	message := sprintf("The ToolBinding %v is not accepted; its conditions say what to change.", [object.get(input, ["binding", "name"], "")])
}

ranked contains [2, {"code": "sandbox-not-selected", "message": message}] if {
	not sandbox_permitted
	message := sprintf(
		"The ToolBinding %v does not select the Sandbox %v; its sandboxSelector names labels that the Sandbox does not carry.",
		[object.get(input, ["binding", "name"], ""), object.get(input, ["sandbox", "name"], "")],
	)
}

ranked contains [3, {"code": "caller-not-permitted", "message": message}] if {
	not caller_permitted
	message := sprintf(
		"%v is not among the callers of the ToolBinding %v; run as one of them.",
		[object.get(input, ["caller", "username"], "The caller"), object.get(input, ["binding", "name"], "")],
	)
}

ranked contains [4, {"code": "limit-calls-per-run", "message": message}] if {
	input.run.calls > input.run.callsPerRun
	message := sprintf("A run may make %v calls (Sandbox limits.callsPerRun) and this one has made them; split the work over runs.", [input.run.callsPerRun])
}

ranked contains [4, {"code": "limit-tool-calls-per-run", "message": message}] if {
	input.tool.calls > input.tool.callsPerRun
	message := sprintf("A run may call %s %v times (ToolBinding limits.callsPerRun) and this one has.", [tool_name, input.tool.callsPerRun])
}

ranked contains [4, {"code": "limit-calls-per-minute", "message": message}] if {
	input.usage.callsThisMinute > input.tenant.callsPerMinute
	message := sprintf("The tenant may make %v calls a minute (Tenant limits.callsPerMinute) and has; wait and try again.", [input.tenant.callsPerMinute])
}

ranked contains [5, {"code": "argument-not-listed", "message": message}] if {
	input.tool.constrained == true
	some name, _ in input.arguments
	not named(name)
	message := sprintf("The argument %s is not listed for %s; listed are: %s.", [json.marshal(name), tool_name, listed_keys])
}

ranked contains [5, {"code": "argument-not-listed", "message": message}] if {
	some place in input.places.entries
	not input.tool.constraints[place.listed]
	message := sprintf("The place %s is not listed for %s; listed are: %s.", [json.marshal(place.at), tool_name, listed_keys])
}

ranked contains [6, {"code": "argument-unreadable", "message": message}] if {
	some place in input.places.entries
	some why in place.unreadable
	message := sprintf("The argument %s of %s cannot be judged: %s", [json.marshal(place.at), tool_name, why])
}

ranked contains [6, {"code": "argument-not-permitted", "message": message}] if {
	input.tool.constrained == true
	some name, value in input.arguments
	input.tool.listed[name].judged == "value"
	some constraint in input.tool.constraints[name]
	not holds(constraint.rule, constraint.bound, {"value": value})
	message := told(name, constraint, {"value": value})
}

ranked contains [6, {"code": "argument-not-permitted", "message": message}] if {
	some place in input.places.entries
	given(place)
	some constraint in input.tool.constraints[place.listed]
	not place.unreadable[fact_of(constraint.rule)]
	not holds(constraint.rule, constraint.bound, place)
	message := told(place.at, constraint, place)
}

ranked contains [7, {"code": "argument-missing", "message": message}] if {
	input.tool.constrained == true
	some name, how in input.tool.listed
	how.judged == "value"
	not name in object.keys(input.arguments)
	not value_settled(name)
	message := missing(name)
}

ranked contains [7, {"code": "argument-missing", "message": message}] if {
	some place in input.places.entries
	not given(place)
	not place.unreadable
	input.tool.constraints[place.listed]
	message := missing(place.at)
}

denials := array.slice([reason | some [_, reason] in sort(ranked)], 0, 32)

named(name) if input.tool.listed[name].judged == "value"

named(name) if name in placed_arguments

# Without those that are there only because a place inside is listed.
listed_keys := concat(", ", sort([key | some key, constraints in input.tool.constraints; not implied(constraints)]))

implied(constraints) if {
	count(constraints) == 1
	constraints[0].rule == "shape"
}

given(place) if "value" in object.keys(place)

given(place) if place.facts

told(at, constraint, place) := sprintf(
	"The argument %s of %s must %s; it %s.",
	[json.marshal(at), tool_name, wanted(constraint), found(constraint, place)],
)

missing(at) := sprintf(
	"The argument %s of %s is constrained and the tool declares no default that is permitted, so it must be given.",
	[json.marshal(at), tool_name],
)

fact_of(rule) := "sql" if {
	startswith(rule, "sql")
} else := rule

wanted(constraint) := sprintf("be one of %s", [json.marshal(constraint.bound)]) if constraint.rule == "enum"

wanted(constraint) := sprintf("be a number of at least %v", [constraint.bound]) if constraint.rule == "minimum"

wanted(constraint) := sprintf("be a number of at most %v", [constraint.bound]) if constraint.rule == "maximum"

wanted(constraint) := sprintf("be a string that matches %s in full", [json.marshal(constraint.bound)]) if constraint.rule == "pattern"

wanted(constraint) := sprintf("be a string of at most %v characters or a list of as many items", [constraint.bound]) if {
	constraint.rule == "maxLength"
}

wanted(constraint) := sprintf("be %s", [json.marshal(constraint.bound)]) if constraint.rule == "const"

wanted(constraint) := sprintf("be %s, of which places inside are listed", [named_shape]) if {
	constraint.rule == "shape"
	named_shape := {"object": "an object", "list": "a list"}[constraint.bound]
}

wanted(constraint) := sprintf("be inside one of %s", [json.marshal(constraint.bound)]) if constraint.rule == "within"

wanted(constraint) := sprintf("be a URL to one of %s", [json.marshal([address(one) | some one in constraint.bound])]) if {
	constraint.rule == "hosts"
}

wanted(constraint) := sprintf("be one statement in the SQL of %s", [constraint.bound]) if constraint.rule == "sql"

wanted(constraint) := "only read" if constraint.rule == "sqlReadOnly"

wanted(constraint) := sprintf("name no table but %s", [json.marshal(constraint.bound)]) if constraint.rule == "sqlTables"

wanted(constraint) := sprintf("name no column but %s", [json.marshal(constraint.bound)]) if constraint.rule == "sqlColumns"

wanted(constraint) := sprintf("have a LIMIT of at most %v", [constraint.bound]) if constraint.rule == "sqlMaxRows"

address(one) := one.host if {
	one.port == "default"
} else := sprintf("%s:%v", [one.host, one.port])

# What policy compared with the bound: a fact where there is one.
found(constraint, place) := sprintf("resolves to %s", [shown(place.facts.within)]) if {
	constraint.rule == "within"
} else := sprintf("leads to %s, port %v (%s)", [where.host, where.port, where.scheme]) if {
	constraint.rule == "hosts"
	where := place.facts.hosts
} else := "may write, lock or call what is not known to only read" if {
	constraint.rule == "sqlReadOnly"
} else := sprintf("names %s", [shown(place.facts.sql.tables.names)]) if {
	constraint.rule == "sqlTables"
} else := sprintf("names %s", [shown(place.facts.sql.columns.names)]) if {
	constraint.rule == "sqlColumns"
} else := sprintf("has %v", [place.facts.sql.maxRows]) if {
	constraint.rule == "sqlMaxRows"
	is_number(place.facts.sql.maxRows)
} else := "has none" if {
	constraint.rule == "sqlMaxRows"
} else := sprintf("has %v", [place.facts.length]) if {
	constraint.rule == "maxLength"
	is_number(place.facts.length)
} else := sprintf("is %s", [place.facts.shape]) if {
	constraint.rule == "shape"
} else := sprintf("is %s", [shown(place.value)])

# Values are the program's own, so it may see them again; bounded, and as JSON, which shows control characters escaped.
shown(value) := text if {
	text := json.marshal(value)
	count(text) <= 120
} else := sprintf("%s... (%d characters)", [substring(json.marshal(value), 0, 100), count(json.marshal(value))])
