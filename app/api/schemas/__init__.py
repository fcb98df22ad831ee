"""The shapes of the API, in and out: one module a noun. Lengths are those of the columns."""
