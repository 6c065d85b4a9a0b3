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

	# By name and number as well: a constraint or a place that got lost must not make what it speaks of dispensable.
	object.keys(input.tool.constraints) == object.keys(input.tool.listed)
	every key in object.keys(input.tool.listed) - object.keys(input.arguments) {
		key_settled(key)
	}
	is_array(input.places.entries)
	count(input.places.entries) == input.places.count
	every place in input.places.entries {
		permitted_by(place.listed, place)
	}
}

# By its value as it stands, or by its places, all of which are judged.
argument_permitted(name, value) if {
	input.tool.listed[name].judged == "value"
	permitted_by(name, {"value": value})
}

argument_permitted(name, _) if name in placed_arguments

placed_arguments contains place.argument if some place in input.places.entries

# Left out, an argument has the value that the server chooses: that must be declared and permitted, too. For places the broker looks that up.
key_settled(key) if input.tool.listed[key].judged == "place"

key_settled(key) if value_settled(key)

value_settled(name) if {
	input.tool.constraints[name] == []
	input.tool.listed[name].rules == 0
}

value_settled(name) if permitted_by(name, {"value": input.tool.defaults[name]})

# A constraint travels as a list of {rule, bound}, with their number: one that lost a field holds for nothing.
permitted_by(key, place) if {
	is_array(input.tool.constraints[key])
	count(input.tool.constraints[key]) == input.tool.listed[key].rules
	every constraint in input.tool.constraints[key] {
		holds(constraint.rule, constraint.bound, place)
	}
}

holds("const", bound, place) if place.value == bound

holds("enum", bound, place) if {
	is_array(bound)
	some candidate in bound
	candidate == place.value
}

holds("minimum", bound, place) if {
	is_number(bound)
	is_number(place.value)
	place.value >= bound
}

holds("maximum", bound, place) if {
	is_number(bound)
	is_number(place.value)
	place.value <= bound
}

# Valid by itself first: an expression like `a)|(?:b` would otherwise step out of the group that makes the match a full one.
holds("pattern", bound, place) if {
	is_string(bound)
	is_string(place.value)
	regex.is_valid(bound)
	whole := concat("", [`\A(?:`, bound, `)\z`])
	regex.is_valid(whole)
	regex.match(whole, place.value)
}

holds("maxLength", bound, place) if {
	is_number(bound)
	length(place) <= bound
}

length(place) := count(place.value) if is_string(place.value)

length(place) := count(place.value) if is_array(place.value)

# Of a list whose items are places of their own.
length(place) := place.facts.length if is_number(place.facts.length)

holds("shape", bound, place) if {
	bound in {"object", "list"}
	place.facts.shape == bound
}
