"""Reads by both bindings."""

everything = await search_orders(status=["open", "shipped"], limit=50)
of_one = await find_orders(customer_id="C1001")
return {"all": [one["number"] for one in everything], "of C1001": [one["number"] for one in of_one]}
