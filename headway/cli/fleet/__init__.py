"""Commands for a fleet: those over the API, and what the `flask` commands share with them."""
