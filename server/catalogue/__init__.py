"""What can be asked for: the union of what the workers offer."""
