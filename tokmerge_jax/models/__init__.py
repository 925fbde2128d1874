"""Networks only, one file each, readable top to bottom."""
