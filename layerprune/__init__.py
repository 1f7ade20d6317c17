"""LayerPrune: prune vision networks by layers and by filters, and measure what it buys on the real device.

Importing this package is cheap: torch is imported by the functions that need it, not here.
"""

__version__ = "0.1.0"
