"""Records to tables, tables to pages. Never imports torch."""
