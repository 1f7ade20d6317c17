"""Hardware that can be measured on."""
