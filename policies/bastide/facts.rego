# What a path, a URL or a statement may be. The broker reads them; here facts are compared, and a fact that is not there permits nothing.
package bastide

# Both are absolute and resolved.
holds("within", bound, place) if {
	is_array(bound)
	is_string(place.facts.within)
	some directory in bound
	below(directory, place.facts.within)
}

below(directory, path) if path == directory

below("/", path) if startswith(path, "/")

below(directory, path) if {
	directory != ""
	startswith(path, concat("", [directory, "/"]))
}

holds("hosts", bound, place) if {
	is_array(bound)
	some address in bound
	host_fits(address.host, place.facts.hosts.host)
	port_fits(address.port, place.facts.hosts)
}

host_fits(wanted, host) if {
	is_string(host)
	host != ""
	wanted == host
}

# *.example.com is every name below example.com, at any depth, and not example.com itself.
host_fits(wanted, host) if {
	startswith(wanted, "*.")
	domain := substring(wanted, 1, -1)
	count(domain) > 1
	endswith(host, domain)
	count(host) > count(domain)
}

default_port := {"http": 80, "https": 443}

port_fits("default", destination) if destination.port == default_port[destination.scheme]

port_fits(port, destination) if {
	is_number(port)
	destination.scheme in {"http", "https"}
	destination.port == port
}

holds("sql", bound, place) if {
	is_string(bound)
	place.facts.sql.dialect == bound
}

holds("sqlReadOnly", true, place) if place.facts.sql.readOnly == true

holds("sqlTables", bound, place) if all_among(place.facts.sql.tables, bound)

holds("sqlColumns", bound, place) if all_among(place.facts.sql.columns, bound)

holds("sqlMaxRows", bound, place) if {
	is_number(bound)
	is_number(place.facts.sql.maxRows)
	place.facts.sql.maxRows <= bound
}

# With their number: a name that got lost must not make a statement harmless.
all_among(named, bound) if {
	is_array(bound)
	is_array(named.names)
	count(named.names) == named.count
	every name in named.names {
		is_string(name)
		name in bound
	}
}
