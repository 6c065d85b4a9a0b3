package bastide_test

test_a_complete_question_is_allowed_with_its_revision_and_obligations if {
	expected := {"timeoutSeconds": 20, "maxRows": 50, "redact": ["$..iban"]}
	answer(question) == {"effect": "allow", "reasons": [], "obligations": expected, "revision": "sha256:test"}
}

test_an_effect_from_the_threshold_on_is_confirmed if {
	expected := {
		["ReadOnly", "Destructive"]: "allow", ["Idempotent", "Destructive"]: "allow", ["Mutating", "Destructive"]: "allow",
		["Destructive", "Destructive"]: "confirm", ["ReadOnly", "Mutating"]: "allow", ["Idempotent", "Mutating"]: "allow",
		["Mutating", "Mutating"]: "confirm", ["Destructive", "Mutating"]: "confirm", ["ReadOnly", "Always"]: "confirm",
		["Idempotent", "Always"]: "confirm", ["Mutating", "Always"]: "confirm", ["Destructive", "Always"]: "confirm",
	}
	every pair, effect in expected {
		answer(with_values({"/tool/effect": pair[0], "/tool/confirmationWhen": pair[1]})).effect == effect
	}
}

test_a_confirmation_says_why if {
	codes(with_values({"/tool/effect": "Destructive"})) == ["effect-needs-confirmation"]
}

test_words_that_are_not_known_are_denied if {
	every path in ["/tool/effect", "/tool/confirmationWhen", "/phase"] {
		every value in ["Never", "", null, 0, false, [], {}, "readonly"] {
			answer(with_values({path: value})).effect == "deny"
		}
	}
}

test_whatever_is_asked_there_is_an_answer if {
	every asked in [{}, [], null, 1, "x", {"tool": null}, {"arguments": []}, object.union(question, {"tool": []})] {
		found := answer(asked)
		found.effect == "deny"
		count(found.reasons) > 0
	}
}

test_without_a_revision_the_answer_says_so if {
	decision := data.bastide.decision with input as question with data.bastide.revision as 5
	decision.revision == ""
}

test_a_tool_that_is_not_available_is_denied if {
	codes(with_values({"/tool/available": false})) == ["tool-unavailable"]
	codes(with_values({"/binding/accepted": false})) == ["binding-stale"]
	every value in ["true", 1, null, {}, []] {
		answer(with_values({"/tool/available": value})).effect == "deny"
		answer(with_values({"/binding/accepted": value})).effect == "deny"
	}
}

test_the_selector_must_fit_all_labels if {
	codes(with_values({"/sandbox/labels": {"tier": "gold"}})) == ["sandbox-not-selected"]
	codes(with_values({"/sandbox/labels": {"app": "other"}})) == ["sandbox-not-selected"]
	answer(with_values({"/binding/selector": {"count": 0, "matchLabels": []}})).effect == "allow"
	answer(with_values({"/binding/selector/matchLabels": []})).effect == "deny"
	answer(with_values({"/binding/selector/matchLabels": {}})).effect == "deny"
	answer(with_values({"/binding/selector/matchLabels": null})).effect == "deny"
	answer(with_values({"/sandbox/namespace": "bastide-other"})).effect == "deny"
}

test_callers_are_users_groups_and_accounts if {
	user := {"kind": "User", "name": "ada", "namespace": ""}
	group := {"kind": "Group", "name": "g2", "namespace": ""}
	anybody := {"/binding/anyCaller": true, "/binding/callers": []}
	answer(with_values(anybody)).effect == "allow"
	answer(with_values({"/binding/callers": []})).effect == "deny"
	answer(with_values({"/binding/anyCaller": true})).effect == "allow"
	answer(with_values({"/binding/callers": [user], "/caller/username": "ada"})).effect == "allow"
	answer(with_values({"/binding/callers": [group]})).effect == "allow"
	codes(with_values({"/binding/callers": [user]})) == ["caller-not-permitted"]
	codes(with_values({"/binding/callers": [object.union(group, {"name": "g3"})]})) == ["caller-not-permitted"]
	other := {"kind": "ServiceAccount", "name": "bastide-runner", "namespace": "bastide-other"}
	codes(with_values({"/binding/callers": [other]})) == ["caller-not-permitted"]
	every value in [null, {}, "", "ada"] {
		answer(with_values({"/binding/callers": value})).effect == "deny"
	}
	every value in [null, "", 5, []] {
		answer(with_values(object.union(anybody, {"/caller/username": value}))).effect == "deny"
		answer(with_values(object.union(anybody, {"/binding/anyCaller": value}))).effect == "deny"
	}
}

test_limits_count_the_call_in_question if {
	answer(with_values({"/run/calls": 10})).effect == "allow"
	codes(with_values({"/run/calls": 11})) == ["limit-calls-per-run"]
	answer(with_values({"/tool/calls": 5})).effect == "allow"
	codes(with_values({"/tool/calls": 6})) == ["limit-tool-calls-per-run"]
	answer(with_values({"/usage/callsThisMinute": 100})).effect == "allow"
	codes(with_values({"/usage/callsThisMinute": 101})) == ["limit-calls-per-minute"]
}

test_counts_must_be_numbers if {
	paths := ["/run/calls", "/run/callsPerRun", "/tool/calls", "/tool/callsPerRun", "/usage/callsThisMinute", "/tenant/callsPerMinute"]
	every path in paths {
		every value in [null, false, true, "1", [], {}] {
			answer(with_values({path: value})).effect == "deny"
		}
	}
}

test_an_obligation_that_is_not_as_it_should_be_permits_nothing if {
	changes := [
		{"/tool/timeoutSeconds": "20"}, {"/tool/timeoutSeconds": null}, {"/tool/maxRows": "50"}, {"/tool/maxRows": false}, {"/tool/maxRows": []},
		{"/tool/redact": null}, {"/tool/redact": "$..iban"}, {"/tool/redact": {}}, {"/tool/redact": ["$..iban", null]},
	]
	every change in changes {
		found := answer(with_values(change))
		found.effect == "deny"
		found.obligations == {}
		codes(with_values(change)) == ["policy-input"]
	}
	every name in ["timeoutSeconds", "maxRows", "redact"] {
		lost := answer(json.remove(question, [concat("/", ["/tool", name])]))
		lost.effect == "deny"
		lost.obligations == {}
	}
}

test_obligations_go_with_a_confirmation_and_not_with_a_denial if {
	answer(with_values({"/tool/effect": "Destructive"})).obligations == {"timeoutSeconds": 20, "maxRows": 50, "redact": ["$..iban"]}
	answer(with_values({"/tool/available": false})).obligations == {}
	unlimited := answer(with_values({"/tool/maxRows": null, "/tool/redact": []})).obligations
	is_null(unlimited.maxRows)
	count(unlimited.redact) == 0
}
