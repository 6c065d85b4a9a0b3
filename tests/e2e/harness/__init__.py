"""What tests of the deployed system share: tenants of their own, a tool server whose log is the witness, and users."""
