"""The worker: an agent that claims tasks from the server, and the tasks that it runs in processes of their own."""
