"""Every kind of object of each database, through every operation: nothing lost, nothing invented."""
