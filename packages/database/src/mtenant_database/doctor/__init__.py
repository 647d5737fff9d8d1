"""A doctor for databases with a schema for each tenant: what lets one tenant see another, and its cure.

`examine` looks at a live database, in one read-only transaction, and at nothing but its catalog. It
needs no registry of this library, so that a database which somebody else made can be examined, too.

>>> from mtenant_database.doctor import Finding
>>> print(Finding("temp", "medium", 'database "crm"', "PUBLIC may make temporary tables",
...               'REVOKE TEMPORARY ON DATABASE "crm" FROM PUBLIC;'))
medium  temp  database "crm"
  PUBLIC may make temporary tables
  cure: REVOKE TEMPORARY ON DATABASE "crm" FROM PUBLIC;

The same as a command is `mtenant-db doctor`.
"""

from mtenant_database.doctor.examination import examine
from mtenant_database.doctor.finding import Finding, Severity, Skipped
from mtenant_database.doctor.report import Report

__all__ = ["Finding", "Report", "Severity", "Skipped", "examine"]
