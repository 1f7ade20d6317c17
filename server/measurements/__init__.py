"""What workers measured: checked against the raw samples and stored with its conditions."""
