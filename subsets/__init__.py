"""Which documents there are, which belong together, and which splits each is in: readers, rules, designs."""
