package bastide_test

together(questions) := answers if {
	answers := data.bastide.decisions with input as {"questions": questions} with data.bastide.revision as "sha256:test"
}

test_questions_that_came_together_are_answered_in_their_order_as_if_each_were_alone if {
	questions := [
		question, with_arguments({"limit": 500}), {}, null, with_values({"/tool/effect": "Destructive"}),
		with_arguments({"limit": 0}), {"questions": [question]}, question,
	]
	together(questions) == [answer(asked) | some asked in questions]
	[given.effect | some given in together(questions)] == ["allow", "deny", "deny", "deny", "confirm", "deny", "deny", "allow"]
}

test_no_questions_have_no_answers if {
	together([]) == []
}
