"""Which databases may be in the fleet, and where: URLs and their options, folders, -x arguments."""
