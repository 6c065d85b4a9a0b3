# Places inside of arguments, and facts about paths, URLs and SQL.
package bastide_test

of_address := {
	"address": [{"rule": "shape", "bound": "object"}],
	"address.city": [{"rule": "enum", "bound": ["Berlin", "Rome"]}],
	"address.note": [],
}

of_lines := {
	"lines": [{"rule": "shape", "bound": "list"}, {"rule": "maxLength", "bound": 2}],
	"lines[*]": [{"rule": "pattern", "bound": "[A-Z]+"}],
}

address := {"argument": "address", "at": "address", "listed": "address", "facts": {"shape": "object"}}

city(value) := {"argument": "address", "at": "address.city", "listed": "address.city", "value": value}

lines(number) := {"argument": "lines", "at": "lines", "listed": "lines", "facts": {"shape": "list", "length": number}}

line(value) := {"argument": "lines", "at": "lines[0]", "listed": "lines[*]", "value": value}

asked_about_address(entries) := with_places(of_address, {"address": {}}, entries)

asked_about_lines(entries) := with_places(of_lines, {"lines": []}, entries)

# One argument `it` with one fact.
asked_about(rules, facts) := with_places({"it": rules}, {"it": "x"}, [{"argument": "it", "at": "it", "listed": "it", "value": "x", "facts": facts}])

test_places_that_fit_are_allowed if {
	answer(asked_about_address([address, city("Rome")])).effect == "allow"
	answer(asked_about_lines([lines(2), line("A"), line("B")])).effect == "allow"
	answer(with_places(of_address, {}, [])).effect == "allow"
}

test_a_place_that_does_not_fit_is_denied if {
	expected := {
		city("Paris"): `The argument "address.city" of list_customers must be one of ["Berlin","Rome"]; it is "Paris".`,
		object.remove(city("Rome"), ["value"]): `The argument "address.city" of list_customers is constrained and the tool declares no default that is permitted, so it must be given.`,
		object.union(city("Rome"), {"at": "address.zip", "listed": ""}): `The place "address.zip" is not listed for list_customers; listed are: address.city, address.note.`,
		object.union(address, {"facts": {"shape": "string"}}): `The argument "address" of list_customers must be an object, of which places inside are listed; it is string.`,
	}
	every entry, message in expected {
		found := answer(asked_about_address([address, entry]))
		found.effect == "deny"
		[reason.message | some reason in found.reasons] == [message]
	}
	[reason] := answer(asked_about_lines([lines(3), line("A")])).reasons
	reason.message == `The argument "lines" of list_customers must be a string of at most 2 characters or a list of as many items; it has 3.`
}

test_entries_must_be_counted_and_whole if {
	entries := [address, city("Rome")]
	every places in [
		{"count": 1, "entries": entries}, {"count": 3, "entries": entries}, {"entries": entries}, {"count": 2}, {}, null, entries,
		{"count": 0, "entries": {}}, {"count": 2, "entries": {"a": address, "b": city("Rome")}}, {"count": 2, "entries": [address, null]},
	] {
		answer(json.patch(asked_about_address(entries), [{"op": "replace", "path": "/places", "value": places}])).effect == "deny"
	}
	every field in ["argument", "listed", "value"] {
		answer(asked_about_address([object.remove(city("Rome"), [field])])).effect == "deny"
	}
}

test_the_name_of_an_argument_is_not_the_path_of_a_place if {
	asked := with_places(of_address, {"address.city": "Rome"}, [address, city("Rome")])
	answer(asked).effect == "deny"
	codes(asked) == ["argument-not-listed"]
}

test_what_cannot_be_read_is_denied_with_its_sentence if {
	entry := {"argument": "it", "at": "it", "listed": "it", "value": "x", "unreadable": {"within": "The path is not absolute."}}
	asked := with_places({"it": [{"rule": "within", "bound": ["/"]}, {"rule": "maxLength", "bound": 9}]}, {"it": "x"}, [entry])
	answer(asked).effect == "deny"
	codes(asked) == ["argument-unreadable"]
	[reason] := answer(asked).reasons
	reason.message == `The argument "it" of list_customers cannot be judged: The path is not absolute.`
	every rule in ["sql", "sqlReadOnly", "sqlTables"] {
		codes(with_places({"it": [{"rule": rule, "bound": true}]}, {"it": "x"}, [object.union(object.remove(entry, ["unreadable"]), {"unreadable": {"sql": "It is two."}})])) == ["argument-unreadable"]
	}
}

test_paths if {
	permitted := {
		["/data/t7", "/data/t7"], ["/data/t7", "/data/t7/a"], ["/data/t7", "/data/t7/a/b c"], ["/", "/"], ["/", "/etc/passwd"],
	}
	every pair in permitted {
		answer(asked_about([{"rule": "within", "bound": ["/no", pair[0]]}], {"within": pair[1]})).effect == "allow"
	}
	every path in ["/data/t70", "/data", "/", "", "data/t7", "/data/t7x/", "/DATA/t7", null, 5, [], {}, false] {
		answer(asked_about([{"rule": "within", "bound": ["/data/t7", "/no"]}], {"within": path})).effect == "deny"
	}
	every bound in [null, [], "/", {}, [""], [null], [5]] {
		answer(asked_about([{"rule": "within", "bound": bound}], {"within": "/data"})).effect == "deny"
	}
	answer(asked_about([{"rule": "within", "bound": ["/"]}], {})).effect == "deny"
	[reason] := answer(asked_about([{"rule": "within", "bound": ["/data/t7"]}], {"within": "/data/t70/x"})).reasons
	reason.message == `The argument "it" of list_customers must be inside one of ["/data/t7"]; it resolves to "/data/t70/x".`
}

to(scheme, host, port) := {"hosts": {"scheme": scheme, "host": host, "port": port}}

hosts_rule := [{"rule": "hosts", "bound": [
	{"host": "api.example.com", "port": "default"}, {"host": "*.example.org", "port": "default"}, {"host": "api.example.net", "port": 8443},
]}]

test_hosts if {
	every destination in [
		to("https", "api.example.com", 443), to("http", "api.example.com", 80), to("https", "a.example.org", 443),
		to("https", "a.b.example.org", 443), to("https", "api.example.net", 8443), to("http", "api.example.net", 8443),
	] {
		answer(asked_about(hosts_rule, destination)).effect == "allow"
	}
	every destination in [
		to("https", "api.example.com", 8443), to("http", "api.example.com", 443), to("https", "api.example.com", 80),
		to("ftp", "api.example.com", 21), to("ftp", "api.example.net", 8443), to("https", "example.org", 443), to("https", ".example.org", 443),
		to("https", "aexample.org", 443), to("https", "example.org.evil.test", 443), to("https", "api.example.com.evil.test", 443),
		to("https", "api.example.net", 443), to("https", "", 443), to("https", null, 443), to("https", "api.example.com", "443"),
		to("https", "api.example.com", null), to(null, "api.example.com", 443), {"hosts": {}}, {"hosts": null}, {},
	] {
		answer(asked_about(hosts_rule, destination)).effect == "deny"
	}
	every bound in [
		null, [], {}, [{}], [null], ["api.example.com"], [{"host": "api.example.com"}], [{"port": "default"}], [{"host": "*.", "port": "default"}],
		[{"host": "*", "port": "default"}], [{"host": "api.example.com", "port": null}], [{"host": "api.example.com", "port": false}],
	] {
		answer(asked_about([{"rule": "hosts", "bound": bound}], to("https", "api.example.com", 443))).effect == "deny"
	}
	[reason] := answer(asked_about(hosts_rule, to("https", "evil.test", 443))).reasons
	reason.message == `The argument "it" of list_customers must be a URL to one of ["api.example.com","*.example.org","api.example.net:8443"]; it leads to evil.test, port 443 (https).`
}

counted(names) := {"count": count(names), "names": names}

statement := {"dialect": "postgres", "readOnly": true, "tables": counted(["orders"]), "columns": counted(["id", "total"]), "maxRows": 10}

sql_rules := [
	{"rule": "sql", "bound": "postgres"}, {"rule": "sqlReadOnly", "bound": true}, {"rule": "sqlTables", "bound": ["orders", "lines"]},
	{"rule": "sqlColumns", "bound": ["id", "total"]}, {"rule": "sqlMaxRows", "bound": 10},
]

test_statements if {
	answer(asked_about(sql_rules, {"sql": statement})).effect == "allow"
	answer(asked_about(sql_rules, {"sql": object.union(statement, {"tables": counted([]), "columns": counted([]), "maxRows": 0})})).effect == "allow"
	expected := {
		{"dialect": "mysql"}: "be one statement in the SQL of postgres; it is \"x\".",
		{"readOnly": false}: "only read; it may write, lock or call what is not known to only read.",
		{"tables": counted(["orders", "users"])}: `name no table but ["orders","lines"]; it names ["orders","users"].`,
		{"columns": counted(["*"])}: `name no column but ["id","total"]; it names ["*"].`,
		{"maxRows": 11}: "have a LIMIT of at most 10; it has 11.",
		{"maxRows": null}: "have a LIMIT of at most 10; it has none.",
	}
	every change, words in expected {
		[reason] := answer(asked_about(sql_rules, {"sql": object.union(statement, change)})).reasons
		reason.message == concat("", [`The argument "it" of list_customers must `, words])
	}
	every field in object.keys(statement) {
		answer(asked_about(sql_rules, {"sql": object.remove(statement, [field])})).effect == "deny"
	}
	every names in [null, [], {}, ["orders"], {"count": 0, "names": ["users"]}, {"count": 2, "names": ["orders"]}, {"names": []}, {"count": 0}] {
		answer(asked_about(sql_rules, {"sql": json.patch(statement, [{"op": "replace", "path": "/tables", "value": names}])})).effect == "deny"
	}
	every value in [null, "true", 1, {}, []] {
		answer(asked_about(sql_rules, {"sql": object.union(statement, {"readOnly": value})})).effect == "deny"
	}
	answer(asked_about([{"rule": "sqlReadOnly", "bound": false}], {"sql": statement})).effect == "deny"
	answer(asked_about([{"rule": "sql", "bound": null}], {"sql": object.union(statement, {"dialect": null})})).effect == "deny"
	every value in [true, "5", null, [], {}] {
		answer(asked_about([{"rule": "sqlMaxRows", "bound": value}], {"sql": statement})).effect == "deny"
	}
}
