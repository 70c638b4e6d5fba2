"""Dead letters: list, show, resubmit, export, purge."""
