"""Kubernetes manifests, and what writes parts of them: Secrets, dashboards, alert rules."""
