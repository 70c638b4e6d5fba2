"""What the cancellation function is made of: pure rules and three edges (HTTP, Service Bus, the log)."""
