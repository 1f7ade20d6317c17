"""The service: jobs, tasks and leases, artifacts, measurements and the leaderboard, over HTTP."""
