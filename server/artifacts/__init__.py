"""Content by digest: models, weights, plans, samples and evaluation packs."""
