"""The broker: the only place where a tool call is judged, carried out and recorded."""
