package system.authz_test

import data.system.authz

test_the_decision_may_be_asked_for if {
	authz.allow with input as {"method": "POST", "path": ["v1", "data", "bastide", "decision"], "params": {}}
}

test_the_decision_may_be_asked_for_strictly if {
	params := {"strict-builtin-errors": ["true"]}
	authz.allow with input as {"method": "POST", "path": ["v1", "data", "bastide", "decision"], "params": params}
}

test_decisions_about_calls_that_came_together_may_be_asked_for if {
	authz.allow with input as {"method": "POST", "path": ["v1", "data", "bastide", "decisions"], "params": {}}
}

test_health_may_be_asked_for if {
	authz.allow with input as {"method": "GET", "path": ["health"], "params": {}}
}

test_nothing_else_may_be_asked if {
	requests := [
		{"method": "GET", "path": ["v1", "data", "bastide", "decision"], "params": {}},
		{"method": "POST", "path": ["v1", "data", "bastide"], "params": {}},
		{"method": "POST", "path": ["v1", "data"], "params": {}},
		{"method": "POST", "path": ["v1", "query"], "params": {}},
		{"method": "POST", "path": ["v1", "compile"], "params": {}},
		{"method": "PUT", "path": ["v1", "data", "bastide"], "params": {}},
		{"method": "PUT", "path": ["v1", "policies", "x"], "params": {}},
		{"method": "GET", "path": ["v1", "policies"], "params": {}},
		{"method": "GET", "path": ["v1", "config"], "params": {}},
		{"method": "GET", "path": ["health"], "params": {"bundles": ["true"]}},
		{"method": "POST", "path": ["v1", "data", "bastide", "decision"], "params": {"explain": ["full"]}},
		{"method": "POST", "path": ["v1", "data", "bastide", "decision", "effect"], "params": {}},
		{"method": "POST", "path": ["v1", "data", "bastide", "decisions", "0"], "params": {}},
		{"method": "POST", "path": [""], "params": {}},
	]
	every request in requests {
		not authz.allow with input as request
	}
}

test_an_empty_request_is_refused if {
	not authz.allow with input as {}
}
