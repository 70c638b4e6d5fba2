"""Side-by-side measurements; development only, never deployed."""
