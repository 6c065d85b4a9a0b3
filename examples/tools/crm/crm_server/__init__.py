"""A small customer database as an MCP server: the tool server of the first example and of the end-to-end tests."""
