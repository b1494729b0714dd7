"""The built-in duplication rules, one file each."""
