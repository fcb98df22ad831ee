"""Every use case, called by all faces. Today: accounts, tokens and the audit trail."""
