"""What server, workers and clients say to each other: wire types, errors and the HTTP client."""
