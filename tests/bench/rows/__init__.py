"""The rows of the table, one function each: it measures on a stage and adds lines to a report."""
