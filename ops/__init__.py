"""The operator's tool: send, look, understand, resubmit, from the terminal. `python -m ops --help` shows it."""
