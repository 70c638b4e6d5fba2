"""The soak: thousands of messages, faults of every kind, killed workers, and a checker that knows what was sent."""
