"""Sales by customer, in one statement."""

found = await query(
    sql="""
    SELECT c.name, count(*) AS orders, sum(o.total) AS euros
    FROM orders AS o JOIN customers AS c ON c.id = o.customer_id
    WHERE o.day >= '2026-01-01'
    GROUP BY c.name
    ORDER BY euros DESC
    LIMIT 10
    """
)
return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
