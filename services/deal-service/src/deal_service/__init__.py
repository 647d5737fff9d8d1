"""Deals of a multi-tenant CRM: pipelines, stages, forecast, analytics."""
