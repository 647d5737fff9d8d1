"""Contacts and companies of a multi-tenant CRM: search, custom fields, import, export."""
