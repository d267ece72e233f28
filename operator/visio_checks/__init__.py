"""Checks that run inside the cluster, in Jobs with the operator's image: a whole call, and connections.

They know a deployment only by the environment that its parts have, and stand alone: neither the operator nor the
laboratory is imported.
"""
