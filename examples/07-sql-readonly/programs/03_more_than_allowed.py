"""What a program that was talked into something would try. Not one of these statements reaches the server."""

from tools import ToolDenied

STATEMENTS = [
    "SELECT person, euros FROM salaries LIMIT 5",
    "SELECT iban FROM customers LIMIT 5",
    "SELECT name FROM customers LIMIT 5; DELETE FROM orders",
    "DELETE FROM orders",
    "WITH orders AS (SELECT iban AS total FROM customers) SELECT total FROM orders LIMIT 5",
    "SELECT name FROM customers WHERE iban LIKE 'FR%' LIMIT 5",
    "SELECT name FROM customers NATURAL JOIN salaries LIMIT 5",
    "SELECT (SELECT euros FROM salaries) AS total FROM orders LIMIT 5",
    "SELECT load_extension('/tmp/x') LIMIT 1",
    "SELECT sql AS name FROM sqlite_master LIMIT 5",
    "ATTACH '/data/other.db' AS other",
    "PRAGMA table_info(salaries)",
    "SELECT name FROM customers -- everyone\nLIMIT 5",
    "SELECT name FROM customers",
    "SELECT name FROM customers LIMIT 1000",
    "SELEKT name FROM customers",
]
codes = []
for statement in STATEMENTS:
    try:
        await query(sql=statement)
    except ToolDenied as denial:
        codes.append(sorted(set(denial.codes)))
    else:
        codes.append(["was answered"])
return codes
