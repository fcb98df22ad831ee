"""A shop with one table. Its three factories differ in what runs its revisions."""
