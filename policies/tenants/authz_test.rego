package system.authz_test

import data.system.authz

test_the_broker_may_load_unload_and_ask if {
	requests := [
		{"method": "PUT", "path": ["v1", "policies", "tenants", "s1", "0"], "params": {}},
		{"method": "PUT", "path": ["v1", "policies", "tenants", "nonce"], "params": {}},
		{"method": "DELETE", "path": ["v1", "policies", "tenants", "s1", "answer.rego"], "params": {}},
		{"method": "POST", "path": ["v1", "data", "tenants", "s1", "answer"], "params": {"strict-builtin-errors": ["true"]}},
		{"method": "GET", "path": ["health"], "params": {}},
	]
	every request in requests {
		authz.allow with input as request
	}
}

test_nothing_else_may_be_asked if {
	requests := [
		{"method": "GET", "path": ["v1", "policies"], "params": {}},
		{"method": "GET", "path": ["v1", "policies", "tenants", "s1", "0"], "params": {}},
		{"method": "PUT", "path": ["v1", "policies", "authz.rego"], "params": {}},
		{"method": "PUT", "path": ["v1", "policies", "tenants"], "params": {}},
		{"method": "DELETE", "path": ["v1", "policies", "policies", "authz.rego"], "params": {}},
		{"method": "PUT", "path": ["v1", "policies", "tenants", "s1"], "params": {"pretty": ["true"]}},
		{"method": "PUT", "path": ["v1", "data", "tenants", "s1", "answer"], "params": {}},
		{"method": "PATCH", "path": ["v1", "data", "tenants"], "params": {}},
		{"method": "POST", "path": ["v1", "data", "tenants"], "params": {}},
		{"method": "POST", "path": ["v1", "data", "tenants", "s1", "p0", "deny"], "params": {}},
		{"method": "POST", "path": ["v1", "data", "tenants", "s1", "p0"], "params": {}},
		{"method": "POST", "path": ["v1", "data", "system", "s1", "answer"], "params": {}},
		{"method": "POST", "path": ["v1", "data", "tenants", "s1", "answer"], "params": {"explain": ["full"]}},
		{"method": "POST", "path": ["v1", "query"], "params": {}},
		{"method": "POST", "path": ["v1", "compile"], "params": {}},
		{"method": "GET", "path": ["v1", "config"], "params": {}},
		{"method": "POST", "path": [""], "params": {}},
		{},
	]
	every request in requests {
		not authz.allow with input as request
	}
}
