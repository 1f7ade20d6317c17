"""Tasks, leases and what workers report about them."""
