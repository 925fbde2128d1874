"""One rule table per system, and the rules that several share."""
