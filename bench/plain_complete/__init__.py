"""The plain function with what ours can do besides: both ways to sign in, and a place for hopeless messages."""
