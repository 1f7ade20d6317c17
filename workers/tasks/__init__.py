"""The work of each kind of task, one file per kind."""
