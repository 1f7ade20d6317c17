"""Registration of workers."""
