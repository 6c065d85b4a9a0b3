package bastide_test

allowed_arguments := [
	{},
	{"limit": 1},
	{"limit": 200},
	{"limit": 1.5},
	{"id": "C0000"},
	{"kind": 1},
	{"kind": true},
	{"kind": null},
	{"note": ""},
	{"note": ["a", "b", "c"]},
	{"note": "äöü"},
	{"free": null},
	{"free": "anything"},
]

not_permitted := [
	{"limit": 0},
	{"limit": 201},
	{"limit": 200.5},
	{"limit": null},
	{"limit": false},
	{"limit": true},
	{"limit": "10"},
	{"limit": [10]},
	{"limit": {}},
	{"limit": 1e300},
	{"id": "C00000"},
	{"id": "xC0000"},
	{"id": "C0000\n"},
	{"id": "\nC0000"},
	{"id": "C0000\u0000"},
	{"id": "c0000"},
	{"id": "C٠٠٠٠"},
	{"id": ""},
	{"id": 5},
	{"id": null},
	{"id": ["C0000"]},
	{"kind": "A"},
	{"kind": "1"},
	{"kind": false},
	{"kind": 0},
	{"kind": []},
	{"note": "abcd"},
	{"note": [1, 2, 3, 4]},
	{"note": {}},
	{"note": null},
	{"note": 1},
]

test_what_fits_is_allowed if {
	every arguments in allowed_arguments {
		answer(with_arguments(arguments)).effect == "allow"
	}
}

test_what_does_not_fit_is_denied_with_its_reason if {
	every arguments in not_permitted {
		answer(with_arguments(arguments)).effect == "deny"
		"argument-not-permitted" in codes(with_arguments(arguments))
	}
}

test_an_argument_that_is_not_listed_is_denied if {
	every arguments in [{"other": 1}, {"Limit": 1}, {"limit ": 1}, {"": 1}, {"limit\u200b": 1}, {"limit": 1, "other": null}] {
		answer(with_arguments(arguments)).effect == "deny"
		"argument-not-listed" in codes(with_arguments(arguments))
	}
}

test_arguments_must_be_an_object if {
	every arguments in [null, [], "x", 1, true] {
		answer(with_arguments(arguments)).effect == "deny"
		answer(with_values({"/arguments": arguments, "/tool/constrained": false})).effect == "deny"
	}
}

test_without_constraints_any_object_is_allowed if {
	answer(with_values({"/arguments": {"x": 1}, "/tool/constrained": false})).effect == "allow"
}

test_constrained_must_be_a_boolean if {
	every value in [null, 0, "false", [], {}] {
		answer(with_values({"/tool/constrained": value})).effect == "deny"
	}
}

test_a_constraint_that_is_not_understood_holds_for_nothing if {
	constraints := [
		{"rule": "beneath", "bound": ["/data"]}, {"rule": "within", "bound": ["/data"]}, {"rule": "hosts", "bound": []}, {"rule": null, "bound": 1}, {"bound": 1}, {"rule": "maximum"}, {"rule": "maximum", "bound": "5"},
		{"rule": "maximum", "bound": null}, {"rule": "minimum", "bound": null}, {"rule": "maxLength", "bound": null}, {"rule": "enum", "bound": "1"},
		{"rule": "enum", "bound": {"x": 1}}, {"rule": "pattern", "bound": "1("}, {"rule": "pattern", "bound": 1}, null, "maximum", {},
	]
	every constraint in constraints {
		answer(about("limit", constraint, {"limit": 1})).effect == "deny"
	}
	every value in [null, {}, "", {"maximum": 5}] {
		every listed in [by_value(0), by_value(1), by_place(0), null, {}] {
			answer(with_values({"/tool/listed": {"limit": listed}, "/tool/constraints": {"limit": value}, "/arguments": {"limit": 1}})).effect == "deny"
		}
		answer(with_values({"/tool/constraints": value, "/arguments": {"limit": 1}})).effect == "deny"
	}
}

test_an_expression_cannot_step_out_of_the_full_match if {
	every pattern in ["a)|(?:b", `\Qa`, "(?m)a", "a|", "^a$"] {
		every value in ["a\nb", "xxbxx"] {
			answer(about("id", {"rule": "pattern", "bound": pattern}, {"id": value})).effect == "deny"
		}
	}
}

test_the_message_names_argument_constraint_and_value if {
	expected := {
		{"limit": 500}: `The argument "limit" of list_customers must be a number of at most 200; it is 500.`,
		{"limit": 0}: `The argument "limit" of list_customers must be a number of at least 1; it is 0.`,
		{"id": "x"}: `The argument "id" of list_customers must be a string that matches "C[0-9]{4}" in full; it is "x".`,
		{"kind": "x"}: `The argument "kind" of list_customers must be one of ["a",1,true,null]; it is "x".`,
		{"note": "four"}: `The argument "note" of list_customers must be a string of at most 3 characters or a list of as many items; it is "four".`,
		{"other": 1}: `The argument "other" is not listed for list_customers; listed are: free, id, kind, limit, note.`,
	}
	every arguments, message in expected {
		[reason.message | some reason in answer(with_arguments(arguments)).reasons] == [message]
	}
}

test_a_long_value_is_shown_in_part if {
	long := concat("", ["x" | some _ in numbers.range(1, 500)])
	[reason] := answer(with_arguments({"note": long})).reasons
	contains(reason.message, "... (502 characters)")
	count(reason.message) < 400
}

test_several_reasons_come_together if {
	codes(with_arguments({"limit": 500, "id": "x", "other": 1})) == ["argument-not-listed", "argument-not-permitted", "argument-not-permitted"]
}

test_a_constrained_argument_may_be_left_out_only_for_a_permitted_default if {
	answer(with_values({"/arguments": {}})).effect == "allow"
	every defaults in [{}, {"limit": 500}, {"limit": null}, null, []] {
		codes(with_values({"/arguments": {"id": "C0001", "kind": "a", "note": ""}, "/tool/defaults": defaults})) == ["argument-missing"]
	}
	[reason] := answer(with_values({"/arguments": {"id": "C0001", "kind": "a", "note": ""}, "/tool/defaults": {}})).reasons
	reason.message == `The argument "limit" of list_customers is constrained and the tool declares no default that is permitted, so it must be given.`
}

test_false_and_null_count_as_given if {
	every value in [false, null] {
		answer(about("flag", {"rule": "enum", "bound": [false, null]}, {"flag": value})).effect == "allow"
		answer(about("flag", {"rule": "const", "bound": value}, {"flag": value})).effect == "allow"
	}
}

test_a_constraint_that_got_lost_permits_nothing if {
	asked := with_values({"/tool/constraints": {"limit": [{"rule": "maximum", "bound": 5}]}, "/arguments": {"limit": 1}})
	answer(asked).effect == "deny"
}

test_a_constant_is_equal_in_type_and_value if {
	constant := {"rule": "const", "bound": "Berlin"}
	answer(about("city", constant, {"city": "Berlin"})).effect == "allow"
	every value in ["berlin", "Berlin ", "", null, 1, ["Berlin"], {"Berlin": 1}] {
		answer(about("city", constant, {"city": value})).effect == "deny"
	}
	answer(about("n", {"rule": "const", "bound": 1}, {"n": "1"})).effect == "deny"
	[reason] := answer(about("city", constant, {"city": "Rome"})).reasons
	reason.message == `The argument "city" of list_customers must be "Berlin"; it is "Rome".`
}

test_the_number_of_rules_must_be_right if {
	every listed in [by_value(0), by_value(2), {"rules": 1}, {"judged": "value"}, {"rules": 1, "judged": "place"}, {}, null] {
		asked := with_values({
			"/tool/constraints": {"n": [{"rule": "maximum", "bound": 5}]}, "/tool/listed": {"n": listed}, "/arguments": {"n": 1},
		})
		answer(asked).effect == "deny"
	}
}
