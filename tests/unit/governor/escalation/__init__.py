"""Escalations: rules, desk, webhooks."""
