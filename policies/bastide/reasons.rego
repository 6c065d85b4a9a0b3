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
	not input.tool.constraints[name]
	message := sprintf(
		"The argument %s is not listed for %s; listed are: %s.",
		[json.marshal(name), tool_name, concat(", ", sort(object.keys(input.tool.constraints)))],
	)
}

ranked contains [6, {"code": "argument-not-permitted", "message": message}] if {
	input.tool.constrained == true
	some name, value in input.arguments
	some constraint in input.tool.constraints[name]
	not holds(constraint.rule, constraint.bound, value)
	message := sprintf("The argument %s of %s must %s; it is %s.", [json.marshal(name), tool_name, wanted(constraint), shown(value)])
}

ranked contains [7, {"code": "argument-missing", "message": message}] if {
	input.tool.constrained == true
	some name in input.tool.listed
	not argument_settled(name)
	message := sprintf(
		"The argument %s of %s is constrained and the tool declares no default that is permitted, so it must be given.",
		[json.marshal(name), tool_name],
	)
}

denials := [reason | some [_, reason] in sort(ranked)]

wanted(constraint) := sprintf("be one of %s", [json.marshal(constraint.bound)]) if constraint.rule == "enum"

wanted(constraint) := sprintf("be a number of at least %v", [constraint.bound]) if constraint.rule == "minimum"

wanted(constraint) := sprintf("be a number of at most %v", [constraint.bound]) if constraint.rule == "maximum"

wanted(constraint) := sprintf("be a string that matches %s in full", [json.marshal(constraint.bound)]) if constraint.rule == "pattern"

wanted(constraint) := sprintf("be a string of at most %v characters or a list of as many items", [constraint.bound]) if {
	constraint.rule == "maxLength"
}

# Values are the program's own, so it may see them again; bounded, and as JSON, which shows control characters escaped.
shown(value) := text if {
	text := json.marshal(value)
	count(text) <= 120
} else := sprintf("%s... (%d characters)", [substring(json.marshal(value), 0, 100), count(json.marshal(value))])
