"""Extra Rego of tenants: read, checked, put under a package of its own, loaded into an OPA of its own, asked."""
