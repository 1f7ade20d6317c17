"""The network as a traced graph: its removable layers, plans as data, and the surgery that applies them."""
