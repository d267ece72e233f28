"""The webhook relay: signs LiveKit's webhooks anew while one key pair replaces another.

A program of its own in the operator's image, beside each media server during a rotation; it knows neither the operator
nor Kubernetes.
"""
