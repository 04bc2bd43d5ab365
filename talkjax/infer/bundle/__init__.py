"""One exported file with everything that a person's talking picture needs, and the light runtime that
plays it."""
