"""Every measured variant in order, and the comparison of a job's families."""
