"""Communication of a multi-tenant CRM: activities, tasks, templates, mail that is tracked."""
