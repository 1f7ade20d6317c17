"""Pruning jobs: requests, their stages from scoring to measuring, and how far they are."""
