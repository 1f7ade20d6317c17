"""The pages: server-rendered HTML, figures as JSON, and the few static files they need."""
