"""The outage, side by side: Job Router down for some minutes, this function against the plain one, in real time."""
