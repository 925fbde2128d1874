"""One rule table for each system, and the rows that several share."""
