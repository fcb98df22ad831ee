"""Shared by all packages of the fleet: permissions, transactions, audit, selectors, leases."""
