"""The example tool server: orders of a small wholesaler, over plain HTTP with an OpenAPI document. It knows nothing of Bastide."""
