"""Which target is asked, in what order, and what becomes of a reply whose target fails. Pure but for `shared`."""
