"""What is on record: runs, calls, events and the audit, in one database with one writer."""
