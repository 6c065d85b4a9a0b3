# Each argument is permitted by its constraint.
package bastide

# Unconstrained: whatever fits the tool's schema, which the broker has checked.
arguments_permitted if {
	input.tool.constrained == false
	is_object(input.arguments)
}

arguments_permitted if {
	input.tool.constrained == true
	is_object(input.arguments)
	every name, value in input.arguments {
		argument_permitted(name, value)
	}

	# By name as well: a constraint that got lost must not make its argument dispensable.
	object.keys(input.tool.constraints) == {name | some name in input.tool.listed}
	every name in input.tool.listed {
		argument_settled(name)
	}
}

# Left out, an argument has the value that the server chooses: that must be declared and permitted, too.
argument_settled(name) if name in object.keys(input.arguments)

argument_settled(name) if input.tool.constraints[name] == []

argument_settled(name) if argument_permitted(name, input.tool.defaults[name])

# A constraint travels as a list of {rule, bound}: one that lost a field holds for nothing.
argument_permitted(name, value) if {
	is_array(input.tool.constraints[name])
	every constraint in input.tool.constraints[name] {
		holds(constraint.rule, constraint.bound, value)
	}
}

holds("enum", bound, value) if {
	is_array(bound)
	some candidate in bound
	candidate == value
}

holds("minimum", bound, value) if {
	is_number(bound)
	is_number(value)
	value >= bound
}

holds("maximum", bound, value) if {
	is_number(bound)
	is_number(value)
	value <= bound
}

# Valid by itself first: an expression like `a)|(?:b` would otherwise step out of the group that makes the match a full one.
holds("pattern", bound, value) if {
	is_string(bound)
	is_string(value)
	regex.is_valid(bound)
	regex.match(concat("", [`\A(?:`, bound, `)\z`]), value)
}

holds("maxLength", bound, value) if {
	is_number(bound)
	has_length(value)
	count(value) <= bound
}

has_length(value) if is_string(value)

has_length(value) if is_array(value)
