"""From scores to plans: candidates of all families, single edits, budgets that are solved exactly, pruning in steps."""
