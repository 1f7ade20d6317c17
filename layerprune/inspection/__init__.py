"""What an uploaded file is, found out without loading it: needs neither torch nor a runtime."""
