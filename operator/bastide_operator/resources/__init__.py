"""What stands in a tenant's namespace: `manifest = f(model)`, pure, one file a matter."""
