"""The planner against a world in plain Python: streams that come and go, and a cloud that sells servers late."""
