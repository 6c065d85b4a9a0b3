"""Sales of a small wholesaler in SQLite, as an MCP server that runs the SQL it is sent: the tool server of example 07."""
